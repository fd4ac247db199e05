/* Guest-linear addresses, by the guest's own tables.
 * Source: SDM volume 3, "4-Level Paging and 5-Level Paging", "Access Rights". */
#include "control.h"
#include "runv.h"

bool has_paging(void) { return vmread(shadow_paging ? CR0_READ_SHADOW : GUEST_CR0) & CR0_PG; }

bool translate(u64 va, u64 *error, struct translation *t) {
    u64 cr3 = shadow_paging ? self->vcpu.cr3 : vmread(GUEST_CR3);

    if (has_paging())
        return guest_walk(cr3, va, error, t);
    *t = (struct translation){.gpa = ROUND_DOWN((u32)va, PAGE_SIZE), .level = TABLE_LEVELS};
    t->entry[TABLE_LEVELS] = PTE_P | PTE_W | PTE_A | PTE_D;
    return true;
}

/* For INS and OUTS, the one instruction whose memory the host moves. */
void *linear(u64 va, enum access access, u64 *error) {
    struct translation t;

    if (has_paging() && !(vmread(GUEST_EFER) & EFER_LMA))
        kill_container("INS or OUTS with 32-bit paging at", vmread(GUEST_RIP));
    *error = (access == WRITE ? PF_WRITE : 0) | (in_user_mode() ? PF_USER : 0);
    if (!translate(va, error, &t))
        return NULL;
    u64 hpa = guest_page(t.gpa);
    if (!hpa)
        kill_container("it used an address outside its memory", t.gpa);
    return (u8 *)host(hpa) + (va & PAGE_MASK);
}

void *guest_bytes(u64 va, u64 size, u64 access) {
    struct translation t;

    access |= in_user_mode() ? PF_USER : 0;
    if (!size || (va & PAGE_MASK) + size > PAGE_SIZE || !translate(va, &access, &t))
        return NULL;
    u64 hpa = guest_page(t.gpa);
    return hpa ? (u8 *)host(hpa) + (va & PAGE_MASK) : NULL;
}

/* The core's console hypercalls have no caller here, but they are linked. */
void *guest_memory(u64 va, u64 size) { return guest_bytes(va, size, 0); }
