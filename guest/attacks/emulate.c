/* A WRPKRU that stands openly in the program: the container kernel stands for it, for a program may have keys.
 * Defence: it changes the program's own keys only.  Control: off=emulate. */
#include "attack.h"

int main(int argc, char **argv) {
    if (argc < 2)
        return 2;
    asm volatile("wrpkru" :: "a"(0), "c"(0), "d"(0) : "memory");
    return plunder(hexadecimal(argv[1]));
}
