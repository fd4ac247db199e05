/* What every attack knows of the container kernel: addresses, in hexadecimal, on its command line.
 * An attack prints "read VALUE" or "wrote" if it got through; otherwise it is killed or says "refused". */
#ifndef ATTACK_H
#define ATTACK_H

#include "program.h"

static inline u64 hexadecimal(const char *s) {
    u64 value = 0;
    for (; *s; s++)
        value = value << 4 | (u64)(*s <= '9' ? *s - '0' : (*s | 32) - 'a' + 10);
    return value;
}

#endif
