/* SYSCALL with the number and the arguments of a hypercall: write the secret to the console.
 * Defence: it is a hypercall only where container kernel runs with its rights.  Control: off=caller. */
#include "attack.h"

#define HC_CONSOLE_WRITE 7

int main(int argc, char **argv) {
    if (argc < 2)
        return 2;
    i64 result;
    asm volatile("syscall" : "=a"(result) : "a"(HC_CONSOLE_WRITE), "D"(1), "S"(hexadecimal(argv[1])), "d"(8) : "rcx", "r11", "memory");
    return refused("SYSCALL", result);
}
