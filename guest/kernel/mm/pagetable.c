/* The radix tree of one address space, in the hardware's format.
 *
 *    47      39 38      30 29      21 20      12 11          0
 *   ┌──────────┬──────────┬──────────┬──────────┬─────────────┐
 *   │ level 4  │ level 3  │ level 2  │ level 1  │ offset      │
 *   └────┬─────┴────┬─────┴────┬─────┴────┬─────┴─────────────┘
 *     root ──→ table ───→ table ───→ leaf table ──→ page
 */
#include "kernel.h"
#include "page.h"
#include "platform/space.h"
#include "vm.h"

#define LEAF_TABLE_SPAN (512 * PAGE_SIZE)

static u64 slot_of(u64 va, int level) { return va >> (PAGE_SHIFT + 9 * (level - 1)) & 511; }
static pte_t *table_of(pte_t entry) { return direct(entry & PTE_ADDRESS); }

pte_t *pte_find(struct mm *mm, u64 va) {
    pte_t *table = mm->root;

    for (int level = 4; level > 1; level--) {
        pte_t entry = table[slot_of(va, level)];
        if (!(entry & PTE_P))
            return NULL;
        table = table_of(entry);
    }
    return &table[slot_of(va, 1)];
}

pte_t *pte_make(struct mm *mm, u64 va) {
    pte_t *table = mm->root;

    for (int level = 4; level > 1; level--) {
        pte_t *entry = &table[slot_of(va, level)];
        if (!(*entry & PTE_P)) {
            void *page = page_alloc_clear();
            if (!page)
                return NULL;
            *entry = physical(page) | PTE_TABLE;
        }
        table = table_of(*entry);
    }
    return &table[slot_of(va, 1)];
}

u64 pte_next_table(struct mm *mm, u64 va, u64 end) {
    while (va < end) {
        pte_t *table = mm->root;
        int level = 4;
        while (level > 1 && table[slot_of(va, level)] & PTE_P)
            table = table_of(table[slot_of(va, level--)]);
        if (level == 1)
            return va;
        u64 span = PAGE_SIZE << 9 * (level - 1);        /* nothing is mapped in this much */
        va = ROUND_DOWN(va, span) + span;
    }
    return end;
}

static void free_below(pte_t *table, int level, u64 count) {
    for (u64 i = 0; i < count; i++) {
        if (!(table[i] & PTE_P))
            continue;
        if (level > 2)
            free_below(table_of(table[i]), level - 1, 512);
        page_put(table[i] & PTE_ADDRESS);
        table[i] = 0;
    }
}

/* Free all tables of the lower half; no page is mapped any more. */
void tables_free(struct mm *mm) {
    free_below(mm->root, 4, 256);
}

void run_begin(struct pte_run *run, struct mm *mm) {
    run->mm = mm;
    run->count = run->drops = 0;
    run->stale = false;
}

void run_end(struct pte_run *run) {
    if (run->count && run->mm->as)
        plat_pte_set(run->mm->as, run->va, run->entry, run->count, run->stale);
    for (u64 i = 0; i < run->drops; i++)
        page_put(run->drop[i]);
    run_begin(run, run->mm);
}

void run_set(struct pte_run *run, u64 va, pte_t *slot, pte_t entry) {
    if (run->count && (run->count == RUN_MAX || va != run->va + run->count * PAGE_SIZE))
        run_end(run);
    if (!run->count)
        run->va = va;
    run->stale |= *slot & PTE_P;
    *slot = entry;
    run->entry[run->count++] = entry;
}

void run_drop(struct pte_run *run, u64 page) { run->drop[run->drops++] = page; }
