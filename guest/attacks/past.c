/* Jump into the gate behind its check and behind its change of stacks, with RSP in the container kernel's memory.
 * Defence: without the kernel's rights nothing can be pushed there.  Control: off=keys. */
#include "attack.h"

#define AFTER_STACK 9           /* bytes of the instruction that takes the stack */

int main(int argc, char **argv) {
    if (argc < 3)
        return 2;
    u64 stack = hexadecimal(argv[1]) + 2048, target = hexadecimal(argv[2]) + AFTER_STACK;
    asm volatile("mov %0, %%rsp; jmp *%1" :: "r"(stack), "r"(target), "a"(SYS_getpid) : "memory");
    return 3;
}
