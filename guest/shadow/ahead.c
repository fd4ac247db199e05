/* Shadow entries that are there before they are used, for a container kernel that has its memory bound ahead of its use
 * (pager/).  What is bound, and what the guest's tables say, is known by then; a fault would bring nothing new.
 *
 *   a page is bound             → the entry by which its kernel sees it
 *   a table gets a shadow       → shadows of the tables it leads to, and the leaves
 *   the guest flushes           → leaves that were stored while a table was let go (sync.c)
 *   a fault, and the way back   → the leaves beside it, which came with the same fault
 *
 * An entry is made here only where it would be the same after a fault, and where the guest has set A.  What cannot be
 * made, for want of memory or because this is much at once, a fault makes later.
 */
#include "host.h"
#include "pager.h"
#include "shadow.h"

/* Room for a large process; a guest whose tables lead in circles does not keep its host for long. */
#define TABLES_AT_ONCE 32

void shadows_may_run_ahead(struct shadows *s) { s->ahead = self->ahead ? TABLES_AT_ONCE : 0; }

static void leaf_ahead(struct shadows *s, struct shadow *sh, u64 index, pte_t guest) {
    bool user = sh->user && guest & PTE_U;
    u64 hpa;

    if (sh->table[index] & PTE_P || !(guest & PTE_P) || !(guest & PTE_A) || (sh->kind == SHADOW_USER && !user))
        return;
    if ((hpa = binding_get(guest & PTE_ADDRESS)))
        map_leaf(s, &sh->table[index], leaf_for(sh, guest, user, hpa));
}

void leaves_ahead(struct shadows *s, struct shadow *sh, u64 from, u64 count) {
    const pte_t *guest = host(binding_get(sh->gpa));

    for (u64 i = from; i < from + count; i++)
        leaf_ahead(s, sh, i, guest[i]);
}

/* The supervisor's view of user pages is made when it looks at them, which is hardly ever; users see nothing of the other half. */
static bool is_of_use(const struct shadow *sh, u64 index) {
    return !sh->root || sh->kind == SHADOW_WHOLE || (index < TABLE_ENTRIES / 2) == (sh->kind == SHADOW_USER);
}

void table_ahead(struct shadows *s, struct shadow *sh) {
    const pte_t *guest = host(binding_get(sh->gpa));

    if (s->ahead)
        s->ahead--;
    if (sh->level == 1)
        leaves_ahead(s, sh, 0, TABLE_ENTRIES);
    for (u64 i = 0; i < shadow_entries(sh) && sh->level > 1 && s->ahead; i++)
        if (is_of_use(sh, i) && !(sh->table[i] & PTE_P))
            shadow_link_entry(s, sh, i, guest[i]);
}

static struct shadow *leaf_table(struct shadow *sh, u64 va) {
    while (sh->level > 1) {
        pte_t entry = sh->table[level_index(va, sh->level)];
        if (!(entry & PTE_P))
            return NULL;
        sh = shadow_child(entry);
    }
    return sh;
}

void shadow_fill_around(struct shadows *s, struct shadow *root, u64 va, u64 pages) {
    struct shadow *sh = leaf_table(root, va);

    if (sh && !sh->direct)
        leaves_ahead(s, sh, ROUND_DOWN(level_index(va, 1), pages), pages);
}

static void fill_bound(struct shadows *s, u64 gpa) {
    struct shadow *root = s->current->root[FIRST_KIND];
    struct translation t;
    u64 va;

    if (!self->bound[gpa >> PAGE_SHIFT] || !kernel_sees(gpa, &va, &t) || t.gpa != gpa)
        return;
    const struct shadow *sh = leaf_table(root, va);
    if (!sh || !(sh->table[level_index(va, 1)] & PTE_P))
        shadow_try_fill(s, root, va, &t, false);
}

void shadows_bound(struct shadows *s, const u64 *blocks, u64 count) {
    shadows_may_run_ahead(s);
    for (u64 i = 0; i < count; i++)
        for (u64 page = 0; page < 1UL << (blocks[i] & PAGER_ORDER); page++)
            fill_bound(s, (blocks[i] & ~PAGE_MASK) + (page << PAGE_SHIFT));
}

/* What was there before is made once more, in full. */
void shadows_begin_ahead(struct shadows *s) {
    shadows_drop(s);
    s->ahead = TABLES_AT_ONCE;
    for (int kind = FIRST_KIND; kind <= LAST_KIND; kind++)
        if (!s->current->root[kind]->direct)
            table_ahead(s, s->current->root[kind]);
    for (u64 page = 0; page < self->bound_end; page++)
        fill_bound(s, page << PAGE_SHIFT);
}
