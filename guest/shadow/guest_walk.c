/* The walk that the processor would make of the guest's tables, with NX on; WP, SMEP and SMAP are the runtime's.
 * Source: SDM volume 3, "4-Level Paging and 5-Level Paging", "Access Rights", "Accessed and Dirty Flags". */
#include "host.h"
#include "shadow.h"

#define PTE_PS (1UL << 7)
#define PTE_RESERVED(level) ((level) == 3 ? 0x3fffe000UL : (level) == 2 ? 0x1fe000UL : 0UL)    /* of a large page */

static bool fail(u64 *error, u64 bits) {
    *error |= bits;
    return false;
}

/* Memory that is not there reads as ones, whose reserved bits are set. */
static pte_t *entry_at(u64 table, u64 va, int level) {
    u64 hpa = guest_page(table);

    return hpa ? (pte_t *)host(hpa) + level_index(va, level) : NULL;
}

static bool allows(const struct translation *t, u64 wanted) {
    bool writable = true, executable = true;

    for (int level = t->level; level <= TABLE_LEVELS; level++) {
        writable &= (t->entry[level] & PTE_W) != 0;
        executable &= !(t->entry[level] & PTE_NX);
    }
    if (wanted & PF_WRITE && !writable && (wanted & PF_USER || write_protects()))
        return false;
    if (wanted & PF_FETCH && !executable)
        return false;
    return wanted & PF_USER ? t->user : !t->user || supervisor_may(wanted);
}

bool guest_walk(u64 cr3, u64 va, u64 *error, struct translation *t) {
    pte_t *at[TABLE_LEVELS + 1];
    u64 table = cr3 & PTE_ADDRESS;

    t->user = true;
    for (int level = TABLE_LEVELS;; level--) {
        if (!(at[level] = entry_at(table, va, level)))
            return fail(error, PF_P | PF_RSVD);
        pte_t entry = *at[level];
        t->table[level] = table;
        t->entry[level] = entry;
        if (!(entry & PTE_P))
            return false;
        t->user &= (entry & PTE_U) != 0;
        bool leaf = level == 1 || entry & PTE_PS;
        if (leaf && (level == TABLE_LEVELS || (level > 1 && entry & PTE_RESERVED(level))))
            return fail(error, PF_P | PF_RSVD);
        table = entry & PTE_ADDRESS;
        if (leaf) {
            t->level = level;
            break;
        }
    }
    if (!allows(t, *error))
        return fail(error, PF_P);
    for (int level = TABLE_LEVELS; level >= t->level; level--)
        *at[level] = t->entry[level] |= PTE_A | (level == t->level && *error & PF_WRITE ? PTE_D : 0);
    t->gpa = table & ~(level_span(t->level) - 1);
    t->gpa += va & (level_span(t->level) - 1) & ~PAGE_MASK;
    return true;
}
