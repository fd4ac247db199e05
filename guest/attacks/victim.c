/* Whom the others are after: it keeps a secret, and looks after each nap whether all is as it was. */
#include "program.h"

#define WORDS 4096
#define ROUNDS 20
#define MORE (64 * 4096UL)       /* it wants memory as it goes */

static volatile u64 secret[WORDS];

int main(int argc, char **argv) {
    struct { i64 sec, nsec; } nap = {0, 1000000};

    (void)argc, (void)argv;
    for (u64 i = 0; i < WORDS; i++)
        secret[i] = 0x5ec2e7c0ffee0002 + i * 0x10000;
    for (int round = 0; round < ROUNDS; round++) {
        syscall(SYS_nanosleep, &nap, 0);
        u8 *more = (u8 *)syscall(SYS_mmap, 0, MORE, 3, 0x22, -1, 0);
        for (u64 i = 0; i < MORE; i += 4096)
            more[i] = 1;
        for (u64 i = 0; i < WORDS; i++)
            if (secret[i] != 0x5ec2e7c0ffee0002 + i * 0x10000) {
                print("victim: word %lu is %lx\n", i, secret[i]);
                return 1;
            }
    }
    print("victim: all is well\n");
    return 0;
}
