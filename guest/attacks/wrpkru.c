/* Run a WRPKRU of one's own, in fresh executable memory.
 * Defence: W^X, and the scanner of whatever becomes executable.  Control: off=scan. */
#include "attack.h"

static volatile u8 code[] = {CLEAR_REGISTERS, WRPKRU, RET};

int main(int argc, char **argv) {
    if (argc < 2)
        return 2;
    u8 *page = map(PAGE, PROT_RW);
    write_inverted(page, code, sizeof code);
    i64 error = syscall(SYS_mprotect, page, PAGE, PROT_RX);
    if (error)
        return refused("mprotect", error);
    ((void (*)(void))page)();
    return plunder(hexadecimal(argv[1]));
}
