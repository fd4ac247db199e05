/* loop [N]: N turns of arithmetic, and no system call. */
#include "program.h"

int main(int argc, char **argv) {
    u64 n = argc > 1 ? number(argv[1]) : 1000000;
    volatile u64 sum = 1;

    for (u64 i = 0; i < n; i++)
        sum = sum * 33 + i;
    return 0;
}
