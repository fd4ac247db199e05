/* Page faults: the guest's own, those of a shadow that is missing, and stores to the guest's tables. */
#include "decode.h"
#include "pvm.h"

static struct shadow *root(void) { return self->vcpu.shadows.current->root[in_user_mode() ? SHADOW_USER : SHADOW_SUPERVISOR]; }

/* Its own part of the address space. */
static bool is_guests(u64 va) {
    u64 slot = level_index(va, TABLE_LEVELS);

    return va < LOWER_HALF || (va >> 47 == 0x1ffff && slot >= GUEST_SLOT && slot < HOST_SLOT && !in_user_mode());
}

static enum fill fill(u64 va, const struct translation *t, bool write) {
    struct shadows *s = &self->vcpu.shadows;
    enum fill result = shadow_fill(s, root(), va, t, write);

    if (result == FILL_NO_MEMORY) {     /* tables can be made again */
        shadows_drop(s);
        result = shadow_fill(s, root(), va, t, write);
    }
    return result;
}

static u64 write_value(const struct trapframe *tf, const struct insn *i) {
    if (i->opcode >= 0xc6)
        return (u64)i->immediate;
    if (i->byte_registers && i->reg >= 4)       /* AH, CH, DH, BH */
        return *register_of((struct trapframe *)tf, i->reg - 4) >> 8;
    return *register_of((struct trapframe *)tf, i->reg);
}

/* A store to a table: done here, or the table is one no more and the guest does it itself. */
static void store(struct trapframe *tf, u64 va, const struct translation *t) {
    struct shadows *s = &self->vcpu.shadows;
    u64 hpa = binding_get(t->gpa) + (va & PAGE_MASK);
    struct frame *f = frame_of(hpa);
    struct insn i;
    u8 code[15];

    if (table_let_go(s, f))
        return;
    if (!decode(code, fetch(tf, code, sizeof code), tf, &i) || !i.memory || i.opcode >= 0x0f00 || i.address != va ||
        (va & PAGE_MASK) + i.size > PAGE_SIZE) {
        if (!unshadow(s, f))
            kill_container("a store to its top-level page table that is no plain MOV", tf->rip);
        return;
    }
    u64 value = write_value(tf, &i);
    if (i.size == 8 && !(hpa & 7))
        *(volatile u64 *)host(hpa) = value;
    else
        memcpy(host(hpa), &value, i.size);
    shadow_stored(s, hpa, i.size);
    tf->rip += i.length;
}

void page_fault(struct trapframe *tf, u64 address) {
    u64 wanted = tf->error & (PF_WRITE | PF_FETCH), error;
    struct translation t;

    error = wanted |= in_user_mode() ? PF_USER : 0;
    if (!is_guests(address)) {
        event(tf, VECTOR_PF, error, address);
        return;
    }
    if (!guest_walk(self->vcpu.cr3, address, &error, &t)) {
        event(tf, VECTOR_PF, error, address);
        return;
    }
    if (tf->error & PF_KEY) {
        event(tf, VECTOR_PF, error | PF_P | PF_KEY, address);
        return;
    }
    switch (fill(address, &t, wanted & PF_WRITE)) {
    case FILLED:
        break;
    case FILL_TABLE:
        store(tf, address, &t);
        break;
    case FILL_OUTSIDE:
        if (OFF(frame)) {
            event(tf, VECTOR_PF, error, address);
            break;
        }
        kill_container("its page tables map memory that it has not", t.gpa);
    case FILL_NO_MEMORY:
        kill_container("no host memory for a page that it touched", address);
    }
}

/* What its kernel has mapped by now need not fault again. */
bool prefault(u64 va, u64 error) {
    struct translation t;

    return (is_guests(va) || OFF(half)) && guest_walk(self->vcpu.cr3, va, &error, &t) && fill(va, &t, error & PF_WRITE) == FILLED;
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

u64 fetch(const struct trapframe *tf, u8 *code, u64 size) {
    u64 got = 0;

    while (got < size) {
        u64 part = MIN(size - got, PAGE_SIZE - ((tf->rip + got) & PAGE_MASK));
        const void *from = guest_bytes(tf->rip + got, part, PF_FETCH);
        if (!from)
            break;
        memcpy(code + got, from, part);
        got += part;
    }
    return got;
}
