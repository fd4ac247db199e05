/* touch [N]: write to each page of N MiB. */
#include "program.h"

#define PAGE 4096UL
#define MIB (1024 * 1024UL)
#define PROT_READ_WRITE 3
#define MAP_PRIVATE_ANONYMOUS_NORESERVE 0x4022   /* more than there is may be asked for, but not touched */

int main(int argc, char **argv) {
    u64 size = (argc > 1 ? number(argv[1]) : 32) * MIB;
    i64 at = syscall(SYS_mmap, NULL, size, PROT_READ_WRITE, MAP_PRIVATE_ANONYMOUS_NORESERVE, -1, 0);

    if (at < 0) {
        print("no memory: error %ld\n", -at);
        return 1;
    }
    for (u64 i = 0; i < size; i += PAGE)
        *(volatile u8 *)(at + (i64)i) = 1;
    return 0;
}
