/* Have innocent code looked through, then change it and ask for its rights again.
 * Defence: whatever becomes executable is looked through, each time.  Control: off=scan. */
#include "attack.h"

static volatile u8 innocent[] = {RET}, code[] = {CLEAR_REGISTERS, WRPKRU, RET};

int main(int argc, char **argv) {
    if (argc < 2)
        return 2;
    u8 *page = map(PAGE, PROT_RW);
    i64 error = make_code(page, innocent, sizeof innocent);
    if (error)
        return refused("the first mprotect", error);
    call(page);
    if ((error = make_code(page, code, sizeof code)))
        return refused("the second mprotect", error);
    call(page);
    return plunder(hexadecimal(argv[1]));
}
