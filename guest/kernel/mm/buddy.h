/* Below the processors' lists: blocks of pages, by the number of their first one. */
#ifndef BUDDY_H
#define BUDDY_H

#include "types.h"

void buddy_init(u64 memory, u64 free_start);
u64 buddy_take(u32 order);      /* not cleared, one reference; 0: there is no such block */
void buddy_give(u64 n, u32 order);
/* Tell the host of each free block of at least 2^least pages that it has not been told of, large ones first. */
#define TOLD_MOST 32
struct told { u32 count, block[TOLD_MOST], order[TOLD_MOST]; };
void buddy_tell(u32 least, void (*host)(const struct told *));

u64 buddy_total(void), buddy_free(void);        /* pages */

#endif
