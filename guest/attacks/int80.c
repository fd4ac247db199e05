/* INT 80h, the old way into a kernel, with the arguments of a hypercall.
 * Defence: its gate is not for ring 3.  Control: off=int80. */
#include "attack.h"

#define HC_CONSOLE_WRITE 7

int main(int argc, char **argv) {
    if (argc < 2)
        return 2;
    i64 result;
    asm volatile("int $0x80" : "=a"(result) : "a"(HC_CONSOLE_WRITE), "D"(1), "S"(hexadecimal(argv[1])), "d"(8) : "rcx", "r11", "memory");
    return refused("INT 80h", result);
}
