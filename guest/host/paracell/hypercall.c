/* What the container kernel asks for, each request checked.  A bad one ends that container alone. */
#include "bind.h"
#include "paracell.h"
#include "policy.h"
#include "selectors.h"
#include "x86.h"

#define USER_END 0x00007ffffffff000UL
#define FLAGS_FREE 0x240dd5UL           /* arithmetic, TF, DF, AC, ID */
#define PTE_ALLOWED (PTE_P | PTE_W | PTE_U | PTE_A | PTE_D | PTE_NX | PTE_KEYS | PTE_ADDRESS | PTE_IGNORED)

static pte_t *space_of(u64 handle) {
    pte_t **space = self->vcpu.space;

    if (!OFF(handle) && (!handle || handle > MAX_SPACES || !space[handle - 1]))
        kill_container("no such address space", handle);
    return space[handle - 1];
}

static i64 as_create(void) {
    pte_t **space = self->vcpu.space;

    for (int i = 0; i < MAX_SPACES; i++)
        if (!space[i]) {
            while (!(space[i] = space_create()))
                if (!policy_wait(TURNS))
                    return -ENOMEM;
            return i + 1;
        }
    return -ENOMEM;
}

static i64 as_switch(u64 handle) {
    space_of(handle);
    load_space(handle);
    return 0;
}

static i64 as_destroy(u64 handle) {
    pte_t *top = space_of(handle);

    if (handle == self->vcpu.current)
        load_space(0);
    self->vcpu.space[handle - 1] = NULL;
    space_destroy(top);
    return 0;
}

/* What the host makes of an entry that it is asked for; 0 without memory for the page. */
static pte_t checked_entry(pte_t entry) {
    u64 gpa = entry & PTE_ADDRESS, hpa = gpa;

    if (entry & ~PTE_ALLOWED || !(entry & PTE_U) || (gpa >> PAGE_SHIFT >= self->pages && !OFF(gpa)))
        kill_container("a page-table entry that it may not have", entry);
    if (!OFF(gpa) && !(hpa = binding_get(gpa))) {
        if (self->ahead)
            kill_container("a page-table entry for a page that is not bound", entry);
        if (policy_withholds(gpa >> PAGE_SHIFT))
            kill_container("a page-table entry for a page that its host has", entry);
        return 0;
    }
    return hpa | (entry & (PTE_P | PTE_W | PTE_U | PTE_NX | PTE_KEYS)) | PTE_A | PTE_D;
}

static const volatile pte_t *wanted_at(u64 at) {
    const volatile pte_t *entry = guest_memory(at, sizeof *entry);

    if (!entry || at & (sizeof *entry - 1))
        kill_container("page-table entries that are not its own", at);
    return entry;
}

/* All entries are read once and checked, which may bind pages, before the first is set: to bind may take empty leaf
 * tables away (vcpu_reclaim). */
static i64 try_pte_set(u64 handle, u64 va, u64 entries, u64 count) {
    static pte_t checked[HC_LIMIT];
    const volatile pte_t *wanted = NULL;
    pte_t *top = space_of(handle), *leaf = NULL;
    i64 result = 0;

    if (count > HC_LIMIT || va & PAGE_MASK || (!OFF(half) && (va >= USER_END || count > (USER_END - va) >> PAGE_SHIFT)))
        kill_container("a mapping outside container user's half", va);
    for (u64 i = 0; i < count; i++) {
        u64 at = entries + i * sizeof *wanted;
        wanted = wanted && at & PAGE_MASK ? wanted + 1 : wanted_at(at);
        pte_t entry = *wanted;
        checked[i] = entry & PTE_P ? checked_entry(entry) : 0;
        if (entry & PTE_P && !checked[i])
            result = -ENOMEM, count = i;
    }
    for (u64 i = 0; i < count; i++, va += PAGE_SIZE) {
        leaf = leaf && level_index(va, 1) ? leaf + 1 : leaf_of(top, va);
        if (!leaf)
            return -ENOMEM;
        pte_t old = *leaf;
        leaf_set(leaf, checked[i]);
        if (old & PTE_P && old != checked[i] && handle == self->vcpu.current && !OFF(flush))
            invlpg(va);
    }
    return result;
}

static i64 pte_set(u64 handle, u64 va, u64 entries, u64 count) {
    i64 result;

    while ((result = try_pte_set(handle, va, entries, count)) == -ENOMEM && policy_wait(TURNS))
        ;
    return result;
}

/* Back to container user: every register comes from a frame in the container kernel's memory. */
void back_to_user(struct trapframe *tf, u64 at) {
    struct xgate_vcpu *v = self->vcpu.shared;
    const struct trapframe *frame = guest_memory(at, sizeof *frame);

    if (!frame)
        kill_container("a frame that is not its own", at);
    frame_copy(tf, frame);
    /* An interrupt may have come in the gate, before the kernel's rights or after: RIP may be anywhere,
     * for keys and the page tables guard memory, not jumps.  But IRET must not fault here in ring 0. */
    if (tf->rip >> 47 && tf->rip >> 47 != 0x1ffff && !OFF(canonical))
        tf->rip = 0;            /* nothing is mapped there: its program gets the fault */
    if (!OFF(selectors)) {
        tf->cs = USER_CS;
        tf->ss = USER_SS;
    }
    if (!OFF(flags))
        tf->rflags = (tf->rflags & FLAGS_FREE) | 0x202;
    v->interrupts = 1;
    v->pending = 0;
    wrpkru((u32)v->pkru);       /* the container kernel's affair: it guards its own memory with it */
    if (self->waiting)
        inject(tf, take_interrupt(), 0, 0);
}

/* ---- by number: RDI, RSI, RDX, R10 → RAX ---- */

typedef i64 (*handler)(u64, u64, u64, u64);
#define HANDLER(function) ((handler)(void (*)(void))function)  /* one may take fewer */

static const handler table[HC_COUNT] = {
    [HC_AS_CREATE] = HANDLER(as_create), [HC_AS_DESTROY] = HANDLER(as_destroy), [HC_AS_SWITCH] = HANDLER(as_switch),
    [HC_PTE_SET] = HANDLER(pte_set), [HC_TIMER] = HANDLER(pv_timer), [HC_WAIT] = HANDLER(pv_wait),
    [HC_CONSOLE_WRITE] = HANDLER(pv_console_write), [HC_CONSOLE_READ] = HANDLER(pv_console_read),
    [HC_EXIT] = HANDLER(pv_exit), [HC_HZ] = HANDLER(pv_cycles_per_second), [HC_UNBIND] = HANDLER(pv_unbind),
    [HC_PAGER] = HANDLER(pager_request), [HC_MEMORY] = HANDLER(policy_request),
};

void hypercall(struct trapframe *tf) {
    if (tf->rax == HC_RETURN) {
        i64 result = tf->r8 ? pte_set(tf->rsi, tf->rdx, tf->r10, tf->r8) : 0;
        if (result)
            tf->rax = (u64)result;
        else
            back_to_user(tf, tf->rdi);  /* which changes every register */
        return;
    }
    if (tf->rax >= HC_COUNT && !OFF(number))
        kill_container("no such hypercall", tf->rax);
    tf->rax = (u64)table[tf->rax](tf->rdi, tf->rsi, tf->rdx, tf->r10);
    if (self->waiting)
        self->vcpu.shared->pending = 1;         /* it came while another container had its turn */
}
