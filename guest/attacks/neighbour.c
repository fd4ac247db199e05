/* Who lives beside a container that a fuzzer has: it keeps a secret, and counts for as long as it may run.
 * neighbour [COUNT]: sleeps for a millisecond between two counts once it has come so far. */
#include "attack.h"

volatile u64 neighbour_secret[PAGE / 8] __attribute__((aligned(4096), used));
volatile u64 neighbour_beats[PAGE / 8] __attribute__((aligned(4096), used));

void neighbour_run(u64 count);
asm(".text\n"
    ".globl neighbour_run\n"
    "neighbour_run: incq neighbour_beats(%rip)\n"
    "cmpq %rdi, neighbour_beats(%rip)\n"
    "jne neighbour_run\n"
    "ret\n");

int main(int argc, char **argv) {
    i64 nap[2] = {0, 1000000};

    for (u64 i = 0; i < PAGE / 8; i++)
        neighbour_secret[i] = 0x5ec2e7c0ffee0002;
    neighbour_run(argc > 1 ? number(argv[1]) : 0);
    for (;;) {
        neighbour_beats[0]++;
        syscall(SYS_nanosleep, nap, NULL);
    }
}
