/* A page walk by conditions alone. */
#include "model.h"

/* Does the key refuse this data access?  (AD: any.  WD: a write by user mode, or with CR0.WP.) */
static int key_refuses(u32 c, int user_page) {
    if (!IS(c, PKE) || !IS(c, PKEY) || !user_page || IS(c, FETCH))
        return 0;
    return IS(c, PKRU_AD) || (IS(c, PKRU_WD) && IS(c, WRITE_ACCESS) && (IS(c, USER) || IS(c, WP)));
}

static int permitted(u32 c, int writable, int user_page, int executable) {
    if (IS(c, USER) && !user_page)
        return 0;
    if (IS(c, FETCH))
        return executable && (IS(c, USER) || !user_page || !IS(c, SMEP));
    if (!IS(c, USER) && user_page && IS(c, SMAP) && !IS(c, AC))
        return 0;
    if (IS(c, WRITE_ACCESS) && !writable && (IS(c, USER) || IS(c, WP)))
        return 0;
    return !key_refuses(c, user_page);
}

void model(u32 c, struct expected *e) {
    int writable = !IS(c, PDPTE_RO) && IS(c, PDE_RW), user_page = IS(c, PDE_USER), executable = !IS(c, PDE_NX);
    u64 *leaf = &e->pde;

    e->error = (IS(c, WRITE_ACCESS) ? PF_W : 0) | (IS(c, USER) ? PF_U : 0);
    if (IS(c, FETCH) && (IS(c, NXE) || IS(c, SMEP)))
        e->error |= PF_I;
    if (!IS(c, PDE_P))
        return;
    if (IS(c, PDE_13) || (IS(c, PDE_NX) && !IS(c, NXE))) {
        e->error |= PF_P | PF_RSVD;
        return;
    }
    if (!IS(c, PDE_PSE)) {
        e->pde |= ENTRY_A;      /* it was used, whatever comes of it */
        leaf = &e->pte;
        if (!IS(c, PTE_P))
            return;
        if (IS(c, PTE_NX) && !IS(c, NXE)) {
            e->error |= PF_P | PF_RSVD;
            return;
        }
        writable &= IS(c, PTE_RW);
        user_page &= IS(c, PTE_USER);
        executable &= !IS(c, PTE_NX);
    }
    if (!permitted(c, writable, user_page, executable)) {
        e->error |= PF_P | (key_refuses(c, user_page) ? PF_PK : 0);
        return;
    }
    e->error = NO_FAULT;
    *leaf |= ENTRY_A | (IS(c, WRITE_ACCESS) ? ENTRY_D : 0);
}
