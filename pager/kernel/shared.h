/* LLFree in the place of the buddy allocator, shared with the host: HyperAlloc. */
#ifndef SHARED_H
#define SHARED_H

#include "types.h"

void shared_init(u64 memory, u64 free_start);   /* guest-physical */
u64  shared_take(u32 order, bool user);         /* as mm/frames.h says */
void shared_give(u64 n, u32 order);
u64  shared_total(void), shared_free(void);

#endif
