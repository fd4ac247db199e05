/* Two pages that were looked through far from each other, moved together by mremap:  … 0f 01 │ ef c3 …
 * Defence: code stays where it was looked through.  Control: off=move. */
#include "attack.h"

#define MAYMOVE_FIXED 3

static volatile u8 first[] = {CLEAR_REGISTERS, I(0x0f), I(0x01)}, second[] = {I(0xef), RET};

int main(int argc, char **argv) {
    if (argc < 2)
        return 2;
    u8 *a = map(2 * PAGE, PROT_RW), *b = map(PAGE, PROT_RW), *start = a + PAGE - sizeof first;
    write_inverted(start, first, sizeof first);
    write_inverted(b, second, sizeof second);
    i64 error = syscall(SYS_mprotect, a, PAGE, PROT_RX) | syscall(SYS_mprotect, b, PAGE, PROT_RX);
    if (error)
        return refused("mprotect", error);
    i64 moved = syscall(SYS_mremap, b, PAGE, PAGE, MAYMOVE_FIXED, a + PAGE);
    if (moved < 0)
        return refused("mremap", moved);
    ((void (*)(void))start)();
    return plunder(hexadecimal(argv[1]));
}
