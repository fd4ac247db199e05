/* SYSCALL with the number and the arguments of a hypercall: write the secret to the console.
 * Defence: it is a hypercall only where container kernel runs with its rights.  Control: off=caller. */
#include "attack.h"

int main(int argc, char **argv) {
    return argc < 2 ? 2 : refused("SYSCALL", STEAL("syscall", hexadecimal(argv[1])));
}
