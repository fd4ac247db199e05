/* Dispatch every exception, interrupt and raw SYSCALL of the container.
 *
 *   container user   → injected into the container kernel, on its stack, with its rights
 *   container kernel → a hypercall, a page to bind, an interrupt to hold back; anything else is its end
 */
#include "machine.h"
#include "paracell.h"
#include "x86.h"

#define VECTOR_DB 1
#define VECTOR_UD 6
#define VECTOR_PF 14
#define VECTOR_80 0x80
#define PF_P 1
#define FLAG_TF (1UL << 8)

bool in_container_kernel(const struct trapframe *tf) {
    const struct gk_header *h = &self->vcpu.header;

    return rdpkru() == PKRU_KERNEL && tf->rip != h->refused && tf->rip >= h->text_start && tf->rip < h->text_end;
}

/* Make `tf` continue in the container kernel's event entry, with what it was as a trapframe on its stack. */
void inject(struct trapframe *tf, u64 vector, u64 error, u64 address) {
    struct xgate_vcpu *v = self->vcpu.shared;
    u64 at = v->stack - sizeof *tf;
    struct trapframe *frame = guest_memory(at, sizeof *tf);

    if (!frame)
        kill_container("its stack is not its own", v->stack);
    frame_copy(frame, tf);
    frame->vector = vector;
    frame->error = error;
    v->interrupts = 0;
    v->pending = 0;
    tf->rip = self->vcpu.header.event_entry;
    tf->rsp = at;
    tf->rdi = at;
    tf->rsi = address;
    tf->rflags = 0x202;
    tf->vector = VEC_SYSCALL;   /* by SYSRET: the entry takes neither RCX nor R11 */
    wrpkru(PKRU_KERNEL);
}

/* What waits for the container: now, or on its kernel's way out. */
static void deliver(struct trapframe *tf) {
    struct xgate_vcpu *v = self->vcpu.shared;

    if (!in_container_kernel(tf) || OFF(hold))
        inject(tf, take_interrupt(), 0, 0);
    else if (tf->rip >= self->vcpu.header.exit_start && tf->rip <= self->vcpu.header.exit_end)
        back_to_user(tf, v->stack - sizeof *tf);        /* the gate has looked already; its frame is still whole */
    else
        v->pending = 1;
}

static bool touches_direct_map(u64 va) { return (va - GK_DIRECT) >> PAGE_SHIFT < self->pages; }

static void dispatch(struct trapframe *tf, u64 address) {
    if (tf->vector == VECTOR_80) {      /* INT 80h reaches this only with off=int80 */
        hypercall(tf);
        return;
    }
    if (tf->vector >= VEC_IRQ0) {
        interrupt(tf->vector);
        if (!(tf->cs & 3))
            return;             /* the host itself was waiting */
        schedule_if_slice_over();
        if (self->waiting)
            deliver(tf);
        return;
    }
    if (!(tf->cs & 3))
        panic("exception %lu, error %lx, in the host at rip %lx, address %lx", tf->vector, tf->error, tf->rip, address);
    if (!in_container_kernel(tf)) {
        inject(tf, tf->vector, tf->error, address);
        return;
    }
    if (tf->vector == VECTOR_PF && !(tf->error & PF_P) && touches_direct_map(address)) {
        if (!binding_get(address - GK_DIRECT))
            binding_missing(address - GK_DIRECT);
        if (self->waiting)
            deliver(tf);        /* it came while another container had its turn */
        return;
    }
    if (tf->vector == VECTOR_DB) {
        tf->rflags &= ~FLAG_TF; /* container user set it before the gate: it ends here */
        return;
    }
    print("exception %lu, error %lx, address %lx, in the container kernel", tf->vector, tf->error, address);
    kill_container("its kernel failed at", tf->rip);
}

void arch_trap(struct trapframe *tf, u64 address) {
    dispatch(tf, address);
    if (tf->vector == VEC_SYSCALL)
        return_by_sysret(tf);
}

/* SYSCALL.  RIP is past the instruction. */
void trap(struct trapframe *tf, u64 address) {
    (void)address;
    if (in_container_kernel(tf) || OFF(caller))
        hypercall(tf);
    else
        inject(tf, VEC_SYSCALL, 0, 0);
}
