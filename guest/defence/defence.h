/* The defences of a kernel or a host, each with a switch: an attack that fails shows something only if it succeeds
 * without the one that stops it.  Option off=NAME; the names are in the image's own defences.def. */
#ifndef DEFENCE_H
#define DEFENCE_H

#include "types.h"

enum defence {
#define DEFENCE(name) DEFENCE_##name,
#include "defences.def"
#undef DEFENCE
};

extern u64 defences_off;                        /* bit n: defence n */

#define OFF(name) (defences_off >> DEFENCE_##name & 1)

void defences_init(const char *options);

#endif
