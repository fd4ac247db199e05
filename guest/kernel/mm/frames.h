/* Below the processors' lists: blocks of pages, by the number of their first one; from the buddy allocator, or from LLFree. */
#ifndef FRAMES_H
#define FRAMES_H

#include "page.h"

extern struct page *pages;      /* by page number */
extern bool frames_shared;      /* LLFree keeps pages at hand itself: no list of the processor's above it */

void frames_init(u64 memory, u64 free_start);
u64  frames_take(u32 order, bool user);         /* not cleared, one reference; 0: there is no such block.  user: of a program or file */
void frames_give(u64 n, u32 order);
u64  frames_free(void);         /* pages */

#endif
