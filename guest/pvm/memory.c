/* Page faults: the guest's own, those of a shadow that is missing, and stores to the guest's tables. */
#include "pvm.h"

#define FAULT_AROUND 16         /* pages that a kernel maps at one fault, at most, as ours does */

static struct shadow *root(void) { return self->vcpu.shadows.current->root[in_user_mode() ? SHADOW_USER : SHADOW_SUPERVISOR]; }

/* Its own part of the address space. */
static bool is_guests(u64 va) {
    u64 slot = level_index(va, TABLE_LEVELS);

    return va < LOWER_HALF || (va >> 47 == 0x1ffff && slot >= GUEST_SLOT && slot < HOST_SLOT && !in_user_mode());
}

void page_fault(struct trapframe *tf, u64 address) {
    u64 wanted = tf->error & (PF_WRITE | PF_FETCH), error;
    struct translation t;

    error = wanted |= in_user_mode() ? PF_USER : 0;
    if (!is_guests(address)) {
        event(tf, VECTOR_PF, error, address);
        return;
    }
    if (tf->error & PF_KEY) {           /* the entry has been used before; a walk would set D for a store that is refused */
        event(tf, VECTOR_PF, error | PF_P | PF_KEY, address);
        return;
    }
    if (!guest_walk(self->vcpu.cr3, address, &error, &t)) {
        event(tf, VECTOR_PF, error, address);
        return;
    }
    switch (shadow_fill(&self->vcpu.shadows, root(), address, &t, wanted & PF_WRITE)) {
    case FILLED:
        if (self->vcpu.shadows.ahead)
            shadow_fill_around(&self->vcpu.shadows, root(), address, TABLE_ENTRIES);
        break;
    case FILL_TABLE:
        if (!shadow_store(&self->vcpu.shadows, tf, address, &t))
            kill_container("a store to its top-level page table that is no plain MOV", tf->rip);
        break;
    case FILL_OUTSIDE:
        if (OFF(frame)) {
            event(tf, VECTOR_PF, error, address);
            break;
        }
        kill_container("its page tables map memory that it has not", t.gpa);
    case FILL_NO_MEMORY:
        binding_missing(t.gpa);
    }
}

void drop_page(u64 va) {
    if (level_index(va, TABLE_LEVELS) < HOST_SLOT || OFF(half))         /* else no entry there leads to a shadow */
        shadow_drop_page(&self->vcpu.shadows, va);
}

/* What its kernel has mapped by now need not fault again. */
bool prefault(u64 va, u64 error) {
    struct translation t;

    if (!(is_guests(va) || OFF(half)) || !guest_walk(self->vcpu.cr3, va, &error, &t) ||
        shadow_fill(&self->vcpu.shadows, root(), va, &t, error & PF_WRITE) != FILLED)
        return false;
    if (self->vcpu.shadows.ahead)
        shadow_fill_around(&self->vcpu.shadows, root(), va, FAULT_AROUND);
    return true;
}

bool kernel_sees(u64 gpa, u64 *va, struct translation *t) {
    u64 error = 0;

    *va = GUEST_DIRECT + gpa;
    return is_guests(*va) && guest_walk(self->vcpu.cr3, *va, &error, t);
}

void *guest_bytes(u64 va, u64 size, u64 access) {
    struct translation t;

    if (OFF(pointer) && va >> 47 == 0x1ffff && !is_guests(va))
        return (void *)va;      /* a control: the host's own */
    access |= in_user_mode() ? PF_USER : 0;
    if (!size || (va & PAGE_MASK) + size > PAGE_SIZE || !is_guests(va) || !guest_walk(self->vcpu.cr3, va, &access, &t) ||
        t.gpa >> PAGE_SHIFT >= self->pages)
        return NULL;
    u64 hpa = binding_get(t.gpa);
    return hpa ? (u8 *)host(hpa) + (va & PAGE_MASK) : NULL;
}

void *guest_memory(u64 va, u64 size) { return guest_bytes(va, size, PF_WRITE); }
