/* Leaf tables that are let go: a run of stores to one traps once.  What they hold counts at the next flush, as the
 * processor promises no more: an entry that was present may be used until then. */
#include "host.h"
#include "shadow.h"

bool table_let_go(struct shadows *s, struct frame *f) {
    if (s->eager)
        return false;
    for (const struct shadow *sh = f->tables; sh; sh = sh->next)
        if (sh->level != 1)
            return false;
    f->unsynced = true;
    f->next_unsynced = s->unsynced;
    s->unsynced = f;
    frame_release(f);
    return true;
}

/* Does a leaf still say what the guest's entry says, or less? */
static bool agrees(pte_t leaf, pte_t guest) {
    bool writable = (guest & (PTE_W | PTE_D)) == (PTE_W | PTE_D), user = guest & PTE_U;

    return guest & PTE_P && frame_of(leaf & PTE_ADDRESS)->gpa == (guest & PTE_ADDRESS) && (writable || !(leaf & SPTE_WRITABLE)) &&
           (leaf & PTE_KEYS) == (guest & PTE_KEYS) && (leaf & PTE_NX || !(guest & PTE_NX)) && user == !!(leaf & SPTE_USER);
}

void shadows_sync(struct shadows *s) {
    while (s->unsynced) {
        struct frame *f = s->unsynced;
        s->unsynced = f->next_unsynced;
        f->unsynced = false;
        frame_protect(s, f);
        for (struct shadow *sh = f->tables; sh; sh = sh->next) {
            const pte_t *guest = host(binding_get(sh->gpa));
            for (u64 i = 0; i < TABLE_ENTRIES; i++)
                if (sh->table[i] & PTE_P && !agrees(sh->table[i], guest[i]))
                    shadow_zap(s, sh, i);
            if (s->ahead)
                leaves_ahead(s, sh, 0, TABLE_ENTRIES);
        }
    }
}
