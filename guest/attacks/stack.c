/* Enter the gate with a stack pointer into the container kernel's memory, so that it pushes there.
 * Defence: the gate takes its stack from its own memory.  Control: off=stack.
 * The stack comes back when the call is over; whether the secret has changed is for others to see. */
#include "attack.h"

int main(int argc, char **argv) {
    if (argc < 3)
        return 2;
    u64 stack = hexadecimal(argv[1]) + 2048, gate = hexadecimal(argv[2]);
    asm volatile("mov %%rsp, %%r12\n\t"
                 "mov %0, %%rsp\n\t"
                 "lea 1f(%%rip), %%rcx\n\t"
                 "jmp *%1\n"
                 "1: mov %%r12, %%rsp"
                 :: "r"(stack), "r"(gate), "a"(SYS_getpid)
                 : "rcx", "rdx", "r11", "r12", "memory");
    print("back\n");
    return 1;
}
