/* What a store to a table of the guest's does to its shadows. */
#include "decode.h"
#include "host.h"
#include "shadow.h"

#define PTE_PS (1UL << 7)
#define FLOOD 3                 /* stores, with no walk between them: it is no table any more, but being cleared */

/* Eager: what an entry leads to is a table from now on, and its stores trap. */
void shadow_link_entry(struct shadows *s, struct shadow *sh, u64 index, pte_t entry) {
    u64 gpa = entry & PTE_ADDRESS;

    if (!(entry & PTE_P) || entry & PTE_PS || sh->level == 1 || gpa >> PAGE_SHIFT >= self->pages)
        return;
    if (sh->kind == SHADOW_USER ? !(entry & PTE_U) : sh->kind == SHADOW_SUPERVISOR && sh->root && index < TABLE_ENTRIES / 2)
        return;                 /* never walked, or hardly: the supervisor has its own view of user pages */
    struct shadow *child = binding_get(gpa) ? shadow_of(s, sh, gpa, sh->user && entry & PTE_U) : NULL;
    if (child)
        shadow_link(s, &sh->table[index], child, entry & (PTE_W | PTE_NX));
}

static struct shadow *with_entry(struct frame *f, u64 index) {
    struct shadow *sh = f->tables;

    while (sh && !(index < shadow_entries(sh) && sh->table[index] & PTE_P))
        sh = sh->next;
    return sh;
}

static bool is_flood(struct frame *f) {
    for (struct shadow *sh = f->tables; sh; sh = sh->next)
        if (sh->level == 1 || ++sh->floods <= FLOOD)
            return false;
    return true;
}

void shadow_stored(struct shadows *s, u64 hpa, u64 size) {
    struct frame *f = frame_of(hpa);
    const pte_t *guest = host(ROUND_DOWN(hpa, PAGE_SIZE));
    struct shadow *sh;

    if (!f->tables || f->unsynced || (is_flood(f) && unshadow(s, f)))
        return;
    for (u64 i = (hpa & PAGE_MASK) / sizeof *guest; i <= ((hpa & PAGE_MASK) + size - 1) / sizeof *guest; i++) {
        while ((sh = with_entry(f, i)))         /* from the start each time: what goes may be of this frame, too */
            shadow_zap(s, sh, i);
        for (sh = f->tables; sh && s->eager; sh = sh->next)
            if (i < shadow_entries(sh))
                shadow_link_entry(s, sh, i, guest[i]);
        for (sh = s->ahead ? f->tables : NULL; sh; sh = sh->next)
            if (sh->level == 1)
                leaves_ahead(s, sh, i, 1);
    }
}

static u64 value_of(struct trapframe *tf, const struct insn *i) {
    if (i->opcode >= 0xc6)
        return (u64)i->immediate;
    if (i->byte_registers && i->reg >= 4)       /* AH, CH, DH, BH */
        return *register_of(tf, i->reg - 4) >> 8;
    return *register_of(tf, i->reg);
}

/* Done here, or the table is one no more and the guest does it itself. */
bool shadow_store(struct shadows *s, struct trapframe *tf, u64 va, const struct translation *t) {
    u64 hpa = binding_get(t->gpa) + (va & PAGE_MASK);
    struct frame *f = frame_of(hpa);
    struct insn i;
    u8 code[15];

    if (table_let_go(s, f))
        return true;
    if (!decode(code, fetch(tf, code, sizeof code), tf, &i) || !i.memory || i.opcode >= 0x0f00 || i.address != va ||
        (va & PAGE_MASK) + i.size > PAGE_SIZE)
        return unshadow(s, f);
    u64 value = value_of(tf, &i);
    if (i.size == 8 && !(hpa & 7))
        *(volatile u64 *)host(hpa) = value;
    else
        memcpy(host(hpa), &value, i.size);
    shadow_stored(s, hpa, i.size);
    tf->rip += i.length;
    return true;
}
