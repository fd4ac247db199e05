/* Whose place a random attacker takes: it has used the gate, has memory of its own, and waits in a page of code that
 * somebody else fills. */
#include "attack.h"

extern u8 fuzz_code[];
u8 fuzz_data[16 * PAGE] __attribute__((aligned(4096)));

asm(".text\n"
    ".balign 4096\n"
    ".globl fuzz_code\n"
    "fuzz_code: jmp fuzz_code\n"
    ".balign 4096, 0x90\n");

int main(int argc, char **argv) {
    (void)argc, (void)argv;
    for (u64 i = 0; i < sizeof fuzz_data; i += 64)
        fuzz_data[i] = 1;
    for (int i = 0; i < 8; i++)
        syscall(SYS_getpid);
    ((void (*)(void))fuzz_code)();
    return 0;
}
