/* spin [N]: count to N (for ever, without one), and make no system call meanwhile. */
#include "program.h"

int main(int argc, char **argv) {
    u64 n = argc > 1 ? number(argv[1]) : ~0UL;

    for (volatile u64 i = 0; i < n; i++)
        ;
    print("%lu\n", n);
    return 0;
}
