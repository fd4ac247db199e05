/* Who lives beside a container that a fuzzer has: it keeps a secret, and counts for as long as it may run. */
#include "attack.h"

volatile u64 neighbour_secret[PAGE / 8] __attribute__((aligned(4096), used));
volatile u64 neighbour_beats[PAGE / 8] __attribute__((aligned(4096), used));

void neighbour_run(void) __attribute__((noreturn));
asm(".text\n"
    ".globl neighbour_run\n"
    "neighbour_run: incq neighbour_beats(%rip)\n"
    "jmp neighbour_run\n");

int main(int argc, char **argv) {
    (void)argc, (void)argv;
    for (u64 i = 0; i < PAGE / 8; i++)
        neighbour_secret[i] = 0x5ec2e7c0ffee0002;
    neighbour_run();
}
