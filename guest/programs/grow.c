/* grow [MIB [TIMES [SECONDS]]]: touch memory that nobody has had, use it for SECONDS, give it back, wait as long; and once more.
 *
 *   ▟███▌    ▟███▌    ▟███▌      the first time cold: no page has been anybody's before
 *
 * What a policy gives back to the host in between, it must fetch again. */
#include "program.h"

#define PAGE 4096UL
#define MIB (1024 * 1024UL)
#define USES 3UL                /* of each page, once it is there */
#define PROT_READ_WRITE 3
#define MAP_PRIVATE_ANONYMOUS 0x22

static u64 argument(int argc, char **argv, int index, u64 otherwise) { return index < argc ? number(argv[index]) : otherwise; }

static u64 use(u64 *memory, u64 size) {
    u64 sum = 0;

    for (u64 i = 0; i < size / sizeof *memory; i += PAGE / sizeof *memory)
        sum += memory[i]++;
    return sum;
}

static void wait(u64 ms) {
    u64 time[2] = {ms / 1000, ms % 1000 * 1000000};

    syscall(SYS_nanosleep, time, NULL);
}

static u64 turn(u64 size, u64 ms) {
    i64 at = syscall(SYS_mmap, NULL, size, PROT_READ_WRITE, MAP_PRIVATE_ANONYMOUS, -1, 0);
    u64 sum = 0;

    if (at < 0)
        return 0;
    for (u64 i = 0; i <= USES; i++) {
        sum += use((u64 *)at, size);
        wait(ms / (USES + 1));
    }
    syscall(SYS_munmap, at, size);
    return sum;
}

int main(int argc, char **argv) {
    u64 mib = argument(argc, argv, 1, 64), times = argument(argc, argv, 2, 3), seconds = argument(argc, argv, 3, 3);

    for (u64 i = 1; i <= times; i++) {
        u64 sum = turn(mib * MIB, seconds * 1000);
        if (!sum) {
            print("grow: no memory\n");
            return 1;
        }
        print("turn %lu: %lu MiB, sum %lu\n", i, mib, sum);
        wait(seconds * 1000);
    }
    return 0;
}
