/* segv [ADDRESS]: read where nothing is. */
#include "program.h"

int main(int argc, char **argv) {
    volatile u8 *at = (volatile u8 *)(argc > 1 ? number(argv[1]) : 0);

    print("reading %lx\n", (u64)at);
    return *at;
}
