/* Below the processors' lists: blocks of pages, by the number of their first one. */
#ifndef BUDDY_H
#define BUDDY_H

#include "page.h"

extern struct page *pages;      /* by page number */

void buddy_init(u64 memory, u64 free_start);
u64 buddy_take(u32 order);      /* not cleared, one reference; 0: there is no such block */
void buddy_give(u64 n, u32 order);
u64 buddy_free(void);           /* pages */

#endif
