/* Read and write the container kernel's memory, just so.
 * Defence: the key of its pages, which container user's PKRU denies.  Control: off=keys. */
#include "attack.h"

int main(int argc, char **argv) {
    if (argc < 2)
        return 2;
    volatile u64 *secret = (volatile u64 *)hexadecimal(argv[1]);
    print("read %lx\n", *secret);
    *secret = 1;
    print("wrote\n");
    return 0;
}
