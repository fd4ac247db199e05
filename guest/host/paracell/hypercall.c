/* What the container kernel asks for, each request checked.  A bad one ends that container alone. */
#include "errno.h"
#include "host.h"

#define FLAGS_FREE 0x240dd5UL           /* arithmetic, TF, DF, AC, ID */
#define PTE_ALLOWED (PTE_P | PTE_W | PTE_U | PTE_A | PTE_D | PTE_NX | PTE_KEYS | PTE_ADDRESS | PTE_IGNORED)

static u64 *space_of(u64 handle) {
    if (!OFF(handle) && (!handle || handle > MAX_SPACES || !self->space[handle - 1]))
        kill_container("no such address space", handle);
    return self->space[handle - 1];
}

static i64 as_create(void) {
    for (int i = 0; i < MAX_SPACES; i++)
        if (!self->space[i]) {
            self->space[i] = space_create();
            return i + 1;
        }
    return -ENOMEM;
}

static i64 as_switch(u64 handle) {
    u64 *top = space_of(handle);

    self->current = handle;
    write_cr3(host_physical(top));
    return 0;
}

static i64 as_destroy(u64 handle) {
    u64 *top = space_of(handle);

    if (handle == self->current)
        leave_space();
    self->space[handle - 1] = NULL;
    space_destroy(top);
    return 0;
}

/* The request is copied before it is checked, so that it cannot change in between. */
static i64 pte_set(u64 handle, u64 va, u64 entries, u64 count) {
    static u64 wanted[HC_LIMIT];
    u64 *top = space_of(handle);

    if (count > HC_LIMIT || va & PAGE_MASK || (!OFF(half) && (va >= USER_END || count > (USER_END - va) >> PAGE_SHIFT)))
        kill_container("a mapping outside container user's half", va);
    if (!copy_from_kernel(wanted, entries, count * 8))
        kill_container("page-table entries that are not its own", entries);
    for (u64 i = 0; i < count; i++, va += PAGE_SIZE) {
        u64 *slot = entry_of(top, va), old = *slot, entry = wanted[i], now = 0;
        if (entry & PTE_P) {
            u64 hpa = OFF(gpa) ? entry & PTE_ADDRESS : bind(entry & PTE_ADDRESS);
            if (!hpa || entry & ~PTE_ALLOWED || !(entry & PTE_U))
                kill_container("a page-table entry that it may not have", entry);
            now = hpa | (entry & (PTE_P | PTE_W | PTE_U | PTE_NX | PTE_KEYS)) | PTE_A | PTE_D;
        }
        *slot = now;
        if (old & PTE_P && old != now && handle == self->current && !OFF(flush))
            invlpg(va);
    }
    return 0;
}

/* Back to container user: every register comes from a frame in the container kernel's memory. */
void back_to_user(struct trapframe *tf, u64 at) {
    struct xgate_vcpu *v = kernel_memory((u64)self->header.vcpu, sizeof *v);

    if (!copy_from_kernel(tf, at, sizeof *tf) || !v)
        kill_container("a frame that is not its own", at);
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
    tf->vector = 0;
    v->interrupts = 1;
    v->pending = 0;
    wrpkru((u32)v->pkru);       /* the container kernel's affair: it guards its own memory with it */
    if (self->waiting)
        inject(tf, take_waiting(), 0, 0);
}

static i64 console(u64 number, u64 stream, u64 va, u64 count) {
    i64 total = 0;

    while (count) {
        u64 part = MIN(count, PAGE_SIZE - (va & PAGE_MASK));
        u8 *memory = kernel_memory(va, part);
        if (!memory)
            kill_container("console bytes that are not its own", va);
        if (number == HC_CONSOLE_READ) {
            i64 got = plat_console_read((int)stream, memory, part);
            return total && got <= 0 ? total : got;
        }
        plat_console_write((int)stream, memory, part);
        va += part;
        count -= part;
        total += (i64)part;
    }
    return total;
}

/* ---- by number: RDI, RSI, RDX, R10 → RAX ---- */

static i64 set_timer(u64 deadline) {
    self->deadline = deadline;
    timer_arm();
    return 0;
}

static i64 wait(void) {
    wait_for_interrupt();
    return (i64)take_waiting();
}

static i64 console_write(u64 stream, u64 from, u64 count) { return console(HC_CONSOLE_WRITE, stream, from, count); }
/* The input is the first container's; for the others it is over before it has begun. */
static i64 console_read(u64 stream, u64 to, u64 count) {
    return self->number ? 0 : console(HC_CONSOLE_READ, stream, to, count);
}
static i64 end(u64 status) { container_ended((int)status & 0xff); }
static i64 cycles_per_second(void) { return (i64)plat_cycles_per_second(); }

typedef i64 (*handler)(u64, u64, u64, u64);
#define HANDLER(function) ((handler)(void (*)(void))function)  /* one may take fewer */

static const handler table[HC_COUNT] = {
    [HC_AS_CREATE] = HANDLER(as_create), [HC_AS_DESTROY] = HANDLER(as_destroy), [HC_AS_SWITCH] = HANDLER(as_switch),
    [HC_PTE_SET] = HANDLER(pte_set), [HC_TIMER] = HANDLER(set_timer), [HC_WAIT] = HANDLER(wait),
    [HC_CONSOLE_WRITE] = HANDLER(console_write), [HC_CONSOLE_READ] = HANDLER(console_read), [HC_EXIT] = HANDLER(end),
    [HC_HZ] = HANDLER(cycles_per_second),
};

void hypercall(struct trapframe *tf) {
    if (tf->rax == HC_RETURN) {
        back_to_user(tf, tf->rdi);      /* which changes every register */
        return;
    }
    if (tf->rax >= HC_COUNT && !OFF(number))
        kill_container("no such hypercall", tf->rax);
    tf->rax = (u64)table[tf->rax](tf->rdi, tf->rsi, tf->rdx, tf->r10);
}
