/* Run a WRPKRU of one's own, in fresh executable memory.
 * Defence: W^X, and the scanner of whatever becomes executable.  Control: off=scan. */
#include "attack.h"

static volatile u8 code[] = {CLEAR_REGISTERS, WRPKRU, RET};

int main(int argc, char **argv) {
    if (argc < 2)
        return 2;
    u8 *page = map(PAGE, PROT_RW);
    i64 error = make_code(page, code, sizeof code);
    if (error)
        return refused("mprotect", error);
    call(page);
    return plunder(hexadecimal(argv[1]));
}
