/* levels: write to one fresh page four times, where 4, 3, 2 and then 1 levels of the page tables need an entry.
 *
 * Each page is a mapping of its own, so one entry is written at each level.  A first round, elsewhere, and pages that
 * come back warm up what a kernel and its host keep; the second one is for an observer to count.
 */
#include "program.h"

#define PAGE 4096UL
#define WARM 0x200000000000UL           /* a slot of level 4 that nobody has */
#define COUNTED 0x210000000000UL
#define POOL 64
#define PROT_READ_WRITE 3
#define MAP_PRIVATE_ANONYMOUS 0x22
#define MAP_FIXED 0x10

static volatile u8 *map(u64 at, u64 size, u64 flags) {
    i64 made = syscall(SYS_mmap, at, size, PROT_READ_WRITE, MAP_PRIVATE_ANONYMOUS | flags, -1, 0);

    if (made < 0) {
        print("no memory: error %ld\n", -made);
        syscall(SYS_exit_group, 1);
    }
    return (volatile u8 *)made;
}

static void pages_that_come_back(void) {
    volatile u8 *pool = map(0, POOL * PAGE, 0);

    for (u64 i = 0; i < POOL; i++)
        pool[i * PAGE] = 1;
    syscall(SYS_munmap, pool, POOL * PAGE);
}

static void round(u64 base) {
    static const u64 distance[] = {0, 1UL << 30, (1UL << 30) + (1UL << 21), (1UL << 30) + (1UL << 21) + PAGE};

    for (int i = 0; i < 4; i++)
        *map(base + distance[i], PAGE, MAP_FIXED) = 1;
}

int main(int argc, char **argv) {
    (void)argc, (void)argv;
    pages_that_come_back();
    round(WARM);
    pages_that_come_back();
    round(COUNTED);
    print("levels 4, 3, 2, 1\n");
    return 0;
}
