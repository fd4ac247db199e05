/* WRPKRU as the operand of another instruction, and a jump into its middle:  b8 [0f 01 ef c3]
 * Defence: the scanner looks at every byte.  Control: off=bytes. */
#include "attack.h"

static volatile u8 code[] = {CLEAR_REGISTERS, I(0xeb), I(0x01), I(0xb8), WRPKRU, RET};     /* jmp +1; mov $…, %eax */

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
