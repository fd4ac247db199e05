/* INT 80h, the old way into a kernel, with the arguments of a hypercall.
 * Defence: its gate is not for ring 3.  Control: off=int80. */
#include "attack.h"

int main(int argc, char **argv) {
    return argc < 2 ? 2 : refused("INT 80h", STEAL("int $0x80", hexadecimal(argv[1])));
}
