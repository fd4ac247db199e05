/* The one walk over page tables.  Lookup, mapping, changes and freeing are visitors of it.
 *
 *    47      39 38      30 29      21 20      12 11          0
 *   ┌──────────┬──────────┬──────────┬──────────┬─────────────┐
 *   │ level 4  │ level 3  │ level 2  │ level 1  │ offset      │
 *   └────┬─────┴────┬─────┴────┬─────┴────┬─────┴─────────────┘
 *     root ──→ table ───→ table ───→ leaf table ──→ page
 *
 * Source: SDM volume 3, "4-Level Paging and 5-Level Paging".
 */
#ifndef WALK_H
#define WALK_H

#include "layout.h"
#include "pte.h"

struct visitor {
    bool (*leaf)(u64 va, pte_t *entry, void *arg);      /* each level-1 entry, present or not; false ends the walk */
    bool (*missing)(pte_t *entry, void *arg);           /* no table is there: it may make one; false skips what it would cover */
    void (*left)(pte_t *entry, int level, void *arg);   /* all that lies below this entry has been visited */
};

#define INLINE static inline __attribute__((always_inline))     /* with the visitor's functions in it */

/* The tables on the way, by level, and the level that was reached last. */
struct walk { pte_t *table[TABLE_LEVELS + 1]; int level; };

INLINE pte_t *walk_entry(const struct walk *w, u64 va) { return &w->table[w->level][level_index(va, w->level)]; }

/* Go down to the leaf table of `va`, or as far as there are tables; give the entry there. */
INLINE pte_t *walk_down(struct walk *w, u64 va, const struct visitor *v, void *arg) {
    for (;;) {
        pte_t *entry = walk_entry(w, va);
        if (w->level == 1 || (!(*entry & PTE_P) && !(v->missing && v->missing(entry, arg))))
            return entry;
        w->table[--w->level] = (pte_t *)((*entry & PTE_ADDRESS) + DIRECT_MAP);
    }
}

/* The level-1 entry of `va`, or NULL where its table is missing. */
INLINE pte_t *walk_to(pte_t *root, u64 va, const struct visitor *v, void *arg) {
    struct walk w = {.table = {[TABLE_LEVELS] = root}, .level = TABLE_LEVELS};
    pte_t *entry = walk_down(&w, va, v, arg);

    return w.level == 1 ? entry : NULL;
}

/* From an entry that maps nothing to the next one that may map something, or to `stop`.  Most tables are nearly empty:
 * entries are passed eight at a time. */
INLINE u64 walk_over_hole(const pte_t *e, u64 va, u64 span, u64 stop) {
    va = ROUND_DOWN(va, span);
    do {
        va += span, e++;
        while (va < stop && !((u64)e & 63) && !((e[0] | e[1] | e[2] | e[3] | e[4] | e[5] | e[6] | e[7]) & PTE_P))
            va += 8 * span, e += 8;
    } while (va < stop && !(*e & PTE_P));
    return va;
}

/* Visit [va, end), whole pages of the lower half or of the upper. */
INLINE void walk(pte_t *root, u64 va, u64 end, const struct visitor *v, void *arg) {
    struct walk w = {.table = {[TABLE_LEVELS] = root}, .level = TABLE_LEVELS};

    do {
        pte_t *entry = walk_down(&w, va, v, arg);
        u64 span = level_span(w.level), border = ROUND_DOWN(va, span << 9) + (span << 9);
        if (w.level == 1 && v->leaf)
            for (; va < MIN(border, end); va += PAGE_SIZE)
                if (!v->leaf(va, entry++, arg))
                    return;
        if (w.level == 1)
            va = border;
        else
            va = v->missing ? ROUND_DOWN(va, span) + span : walk_over_hole(entry, va, span, MIN(border, end));
        while (w.level < TABLE_LEVELS && !(va & (level_span(w.level + 1) - 1))) {       /* up */
            w.level++;
            if (v->left)
                v->left(walk_entry(&w, va - 1), w.level, arg);
        }
    } while (va && va < end);                           /* 0: it was the last of all addresses */
}

#endif
