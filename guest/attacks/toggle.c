/* Have innocent code looked through, then change it and ask for its rights again.
 * Defence: whatever becomes executable is looked through, each time.  Control: off=scan. */
#include "attack.h"

static volatile u8 innocent[] = {RET}, code[] = {CLEAR_REGISTERS, WRPKRU, RET};

int main(int argc, char **argv) {
    if (argc < 2)
        return 2;
    u8 *page = map(PAGE, PROT_RW);
    write_inverted(page, innocent, sizeof innocent);
    i64 error = syscall(SYS_mprotect, page, PAGE, PROT_RX);
    if (error)
        return refused("the first mprotect", error);
    ((void (*)(void))page)();
    syscall(SYS_mprotect, page, PAGE, PROT_RW);
    write_inverted(page, code, sizeof code);
    if ((error = syscall(SYS_mprotect, page, PAGE, PROT_RX)))
        return refused("the second mprotect", error);
    ((void (*)(void))page)();
    return plunder(hexadecimal(argv[1]));
}
