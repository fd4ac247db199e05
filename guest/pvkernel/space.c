/* Address spaces: the kernel's own tables, which the host shadows.  It sees each store to them. */
#include "kernel.h"
#include "memory.h"
#include "pager.h"
#include "platform/space.h"
#include "pvkernel.h"

#define FEW 1                   /* pages that are invalidated one by one */

static u64 current_root;

u64 plat_as_create(pte_t *top) {
    const pte_t *boot = direct(boot_root);

    for (int i = 256; i < 512; i++)
        top[i] = boot[i];
    return physical(top);
}

void plat_as_destroy(u64 as) {
    if (as == current_root)
        plat_as_switch(boot_root);
}

void plat_as_switch(u64 as) {
    hypercall(PVM_HC_LOAD_PGTBL, PVM_LOAD_FLUSH, as);
    current_root = as;
}

void plat_pte_set(u64 as, u64 va, const pte_t *entries, u64 count, bool stale) {
    (void)entries;
    if (!stale || as != current_root)
        return;                 /* not present before, or dropped when its space is loaded */
    if (count <= FEW)
        hypercall(PVM_HC_TLB_INVLPG, va, 0);
    else
        hypercall(PVM_HC_TLB_FLUSH_CURRENT, 0, 0);
}

i64 plat_pager(u64 request, u64 counts) { return hypercall(PAGER_HYPERCALL, request, counts); }
i64 plat_memory(u64 function, u64 a, u64 b) { return hypercall3(MEMORY_HYPERCALL, function, a, b); }
