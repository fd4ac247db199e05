/* The memory balloon: pages that the host has, until they are needed here. */
#ifndef BALLOON_H
#define BALLOON_H

#include "types.h"

void balloon_init(u64 *free_start);     /* guest-physical; takes pages of it where the policy has a balloon */
void balloon_told(void);                /* an interrupt: the host wants another number of pages */
bool balloon_relieve(void);             /* there is no memory: take some back; false: none is in the balloon */

#endif
