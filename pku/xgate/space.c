/* Address spaces: the host keeps the tables that the processor walks, and the kernel tells it each change.
 *
 * After an event the kernel leaves by the host anyway, so the last entries that the event has set go with the return.
 * Until then no container user runs: a thread that may leave by the gate has them sent before it goes on (plat_load).
 */
#include "hypercall.h"
#include "kernel.h"
#include "platform/entry.h"
#include "platform/space.h"
#include "xgate.h"

#define MOST 32                 /* entries that may wait */
#define NO_TABLES "the host has no memory for page tables"

static struct { bool allowed; u64 as, va, count; pte_t entry[MOST]; } waiting;

static void tell(u64 as, u64 va, const pte_t *entries, u64 count) {
    for (u64 n; count; count -= n, entries += n, va += n * PAGE_SIZE) {
        n = MIN(count, (u64)HC_LIMIT);
        if (hypercall(HC_PTE_SET, as, va, (u64)entries, n) < 0)
            panic(NO_TABLES);
    }
}

static void tell_waiting(void) {
    tell(waiting.as, waiting.va, waiting.entry, waiting.count);
    waiting.count = 0;
}

void entries_may_wait(void) { waiting.allowed = true; }

void entries_must_not_wait(void) {
    tell_waiting();
    waiting.allowed = false;
}

u64 plat_as_create(pte_t *root) {
    (void)root;                 /* never loaded */
    i64 handle = hypercall(HC_AS_CREATE, 0, 0, 0, 0);
    return handle > 0 ? (u64)handle : 0;
}

void plat_as_destroy(u64 as) {
    tell_waiting();
    hypercall(HC_AS_DESTROY, as, 0, 0, 0);
}

void plat_as_switch(u64 as) { hypercall(HC_AS_SWITCH, as, 0, 0, 0); }

void plat_pte_set(u64 as, u64 va, const pte_t *entries, u64 count, bool stale) {
    (void)stale;                /* the host sees what was there */
    tell_waiting();
    if (!waiting.allowed || count > MOST) {
        tell(as, va, entries, count);
        return;
    }
    waiting.as = as;
    waiting.va = va;
    waiting.count = count;
    for (u64 i = 0; i < count; i++)
        waiting.entry[i] = entries[i];
}

void plat_enter_user(struct trapframe *tf) {
    u64 count = waiting.count;

    waiting.allowed = false;
    waiting.count = 0;
    hypercall5(HC_RETURN, (u64)tf, waiting.as, waiting.va, (u64)waiting.entry, count);
    panic(NO_TABLES);
}

i64 plat_memory(u64 function, u64 a, u64 b) { return hypercall(HC_MEMORY, function, a, b, 0); }
i64 plat_pager(u64 request, u64 counts) { return hypercall(HC_PAGER, request, counts, 0, 0); }
