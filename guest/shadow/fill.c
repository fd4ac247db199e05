/* A page that the guest's tables map, put into the shadow tables. */
#include "host.h"
#include "shadow.h"

/* The child that an entry leads to, or should: a shadow of the guest's table, or a part of a page that is larger than ours. */
static struct shadow *child(struct shadows *s, struct shadow *sh, const struct translation *t, pte_t *entry, bool user) {
    bool split = sh->level <= t->level;
    struct shadow *made;

    if (*entry & PTE_P)
        return shadow_child(*entry);
    if (split)
        made = shadow_direct(s, sh);
    else
        made = shadow_of(s, sh, t->table[sh->level - 1], user);
    pte_t rights = split ? PTE_W : t->entry[sh->level] & (PTE_W | PTE_NX);
    return made && shadow_link(s, entry, made, rights) ? made : NULL;
}

pte_t leaf_for(const struct shadow *sh, pte_t guest, bool user, u64 hpa) {
    pte_t leaf = hpa | PTE_P | PTE_A | (guest & (PTE_NX | PTE_KEYS));

    if (guest & PTE_W && guest & PTE_D)
        leaf |= PTE_W | PTE_D | SPTE_WRITABLE;
    if (guest & PTE_U)
        leaf |= SPTE_USER;
    if (user || sh->kind != SHADOW_WHOLE)
        leaf |= PTE_U;
    if (sh->kind == SHADOW_SUPERVISOR && user)
        leaf |= PTE_NX;
    return leaf;
}

enum fill shadow_try_fill(struct shadows *s, struct shadow *root, u64 va, const struct translation *t, bool write) {
    struct shadow *sh = root;
    bool user = true;

    u64 hpa = guest_page(t->gpa);
    if (!hpa)
        return t->gpa >> PAGE_SHIFT >= self->pages ? FILL_OUTSIDE : FILL_NO_MEMORY;
    while (sh->level > 1) {
        if (sh->level >= t->level)
            user &= (t->entry[sh->level] & PTE_U) != 0;
        sh->floods = 0;
        if (!(sh = child(s, sh, t, &sh->table[level_index(va, sh->level)], user)))
            return FILL_NO_MEMORY;
    }
    pte_t *entry = &sh->table[level_index(va, 1)], leaf = leaf_for(sh, t->entry[t->level], t->user, hpa);
    if (*entry & PTE_P)
        unmap_leaf(s, entry);
    if (!map_leaf(s, entry, leaf))
        return FILL_NO_MEMORY;
    return write && leaf & PTE_W && !(*entry & PTE_W) ? FILL_TABLE : FILLED;
}

enum fill shadow_fill(struct shadows *s, struct shadow *root, u64 va, const struct translation *t, bool write) {
    enum fill result = shadow_try_fill(s, root, va, t, write);

    if (result == FILL_NO_MEMORY && s->count >= TABLES_LEAST) {     /* tables can be made again */
        shadows_drop(s);
        result = shadow_try_fill(s, root, va, t, write);
    }
    return result;
}

void shadow_drop_page(struct shadows *s, u64 va) {
    for (int kind = FIRST_KIND; kind <= LAST_KIND; kind++) {
        struct shadow *sh = s->current->root[kind];
        while (sh->level > 1 && sh->table[level_index(va, sh->level)] & PTE_P)
            sh = shadow_child(sh->table[level_index(va, sh->level)]);
        if (sh->level == 1)
            shadow_zap(s, sh, level_index(va, 1));
        if (s->ahead && sh->level == 1 && !sh->direct)
            leaves_ahead(s, sh, level_index(va, 1), 1);
    }
}
