/* WRPKRU over the border of two pages, each of which is innocent:  … 0f 01 │ ef c3 …
 * Defence: the scanner looks at the bytes beside.  Control: off=border. */
#include "attack.h"

static volatile u8 first[] = {CLEAR_REGISTERS, I(0x0f), I(0x01)}, second[] = {I(0xef), RET};

int main(int argc, char **argv) {
    if (argc < 2)
        return 2;
    u8 *pages = map(2 * PAGE, PROT_RW), *start = pages + PAGE - sizeof first;
    write_inverted(start, first, sizeof first);
    i64 error = syscall(SYS_mprotect, pages, PAGE, PROT_RX);
    if (error)
        return refused("mprotect of the first", error);
    write_inverted(pages + PAGE, second, sizeof second);
    if ((error = syscall(SYS_mprotect, pages + PAGE, PAGE, PROT_RX)))
        return refused("mprotect of the second", error);
    ((void (*)(void))start)();
    return plunder(hexadecimal(argv[1]));
}
