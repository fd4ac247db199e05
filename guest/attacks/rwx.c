/* Ask for memory that is writable and executable at once.
 * Defence: W^X.  Control: off=scan. */
#include "attack.h"

static volatile u8 code[] = {CLEAR_REGISTERS, WRPKRU, RET};

int main(int argc, char **argv) {
    if (argc < 2)
        return 2;
    i64 page = syscall(SYS_mmap, 0, PAGE, 7, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page < 0)
        return refused("mmap", page);
    write_inverted((u8 *)page, code, sizeof code);
    ((void (*)(void))page)();
    return plunder(hexadecimal(argv[1]));
}
