/* Address spaces.
 *
 * The kernel keeps one 4-level radix tree of hardware format per address space
 * (mm/pagetable.c).  Native loads it into CR3.  Under PVM the host shadows it, and
 * sees each store.  ParaCell never loads it: there the kernel tells the host each
 * change, and the host changes its own tables. */
#ifndef PLATFORM_SPACE_H
#define PLATFORM_SPACE_H

#include "pte.h"
#include "types.h"

u64  plat_as_create(pte_t *root);                           /* a handle for the new space, or 0 */
void plat_as_destroy(u64 as);
void plat_as_switch(u64 as);
/* `count` consecutive 4 KiB leaf entries starting at `va` have just been set to
 * entries[i] in the tree (0 = unmapped).  `stale`: some of them were present
 * before, so that a TLB may still hold what they were. */
void plat_pte_set(u64 as, u64 va, const pte_t *entries, u64 count, bool stale);

/* A request of Pager's to the host (pager/pager.h).  How many blocks were bound; negative: there is no such host. */
i64  plat_pager(u64 request, u64 counts);

/* A function of the host's memory policy (pager/memory.h); negative: it has none. */
i64  plat_memory(u64 function, u64 a, u64 b);

#endif
