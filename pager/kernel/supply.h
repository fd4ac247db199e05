/* What the allocators ask of the host: memory behind the pages that they hand out. */
#ifndef SUPPLY_H
#define SUPPLY_H

#include "types.h"

extern bool supply_on;                          /* option policy=pager, or the platform's own wish, and a host that binds */

void supply_init(u64 *free_start);              /* guest-physical; takes a page of it */
bool supply_bind(u64 page, u32 order);          /* a block: page number; false: the host has no memory */
u32  supply_bind_pages(const u64 *pages, u32 count);    /* how many of them, from the first on */
void supply_unbind(u64 page, u32 order);        /* nobody uses the block; goes with the next request */
bool supply_keep(u64 page, u32 order);          /* it is used again before that: it stays bound.  False: it has gone. */
void supply_idle(void);                         /* nothing runs: say what waits */

#endif
