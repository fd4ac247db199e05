/* Read and write the container kernel's memory, just so.
 * Defence: the key of its pages, which container user's PKRU denies.  Control: off=keys. */
#include "attack.h"

int main(int argc, char **argv) {
    if (argc < 2)
        return 2;
    return plunder(hexadecimal(argv[1]));
}
