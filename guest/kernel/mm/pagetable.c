/* The radix tree of one address space, in the hardware's format (walk.h). */
#include "kernel.h"
#include "page.h"
#include "platform/space.h"
#include "vm.h"
#include "walk.h"

pte_t *pte_find(struct mm *mm, u64 va) { return walk_to(mm->root, va, &(struct visitor){0}, NULL); }

static bool make_table(pte_t *entry, void *arg) {
    void *page = page_alloc_clear();

    (void)arg;
    if (page)
        *entry = physical(page) | PTE_TABLE;
    return page;
}

pte_t *pte_make(struct mm *mm, u64 va) { return walk_to(mm->root, va, &(struct visitor){.missing = make_table}, NULL); }

static void free_table(pte_t *entry, int level, void *arg) {
    (void)level, (void)arg;
    page_put(*entry & PTE_ADDRESS);
    *entry = 0;
}

/* Free all tables of the lower half; no page is mapped any more. */
void tables_free(struct mm *mm) {
    walk(mm->root, 0, LOWER_HALF, &(struct visitor){.left = free_table}, NULL);
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
