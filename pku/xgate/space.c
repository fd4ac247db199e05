/* Address spaces: the host keeps the tables that the processor walks, and the kernel tells it each change. */
#include "hypercall.h"
#include "kernel.h"
#include "platform/space.h"

u64 plat_as_create(pte_t *root) {
    (void)root;                 /* never loaded */
    i64 handle = hypercall(HC_AS_CREATE, 0, 0, 0, 0);
    return handle > 0 ? (u64)handle : 0;
}

void plat_as_destroy(u64 as) { hypercall(HC_AS_DESTROY, as, 0, 0, 0); }
void plat_as_switch(u64 as) { hypercall(HC_AS_SWITCH, as, 0, 0, 0); }

void plat_pte_set(u64 as, u64 va, const pte_t *entries, u64 count, bool stale) {
    (void)stale;                /* the host sees what was there */
    for (u64 n; count; count -= n, entries += n, va += n * PAGE_SIZE) {
        n = MIN(count, (u64)HC_LIMIT);
        if (hypercall(HC_PTE_SET, as, va, (u64)entries, n) < 0)
            panic("the host has no memory for page tables");
    }
}
