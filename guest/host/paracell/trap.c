/* Every exception, interrupt and raw SYSCALL of the container: to whom it belongs.
 *
 *   container user   → injected into the container kernel, on its stack, with its rights
 *   container kernel → a hypercall, a page to bind, an interrupt to hold back; anything else is its end
 */
#include "host.h"

#define VECTOR_DB 1
#define VECTOR_UD 6
#define VECTOR_PF 14
#define VECTOR_80 0x80
#define PF_P 1
#define FLAG_TF (1UL << 8)

bool in_container_kernel(const struct trapframe *tf, u32 pkru) {
    return pkru == PKRU_KERNEL && tf->rip != self->header.refused && tf->rip >= self->header.text_start &&
           tf->rip < self->header.text_end;
}

static struct xgate_vcpu *vcpu(void) {
    struct xgate_vcpu *v = kernel_memory((u64)self->header.vcpu, sizeof *v);
    if (!v)
        kill_container("its per-processor memory is not its own", (u64)self->header.vcpu);
    return v;
}

/* Make `tf` continue in the container kernel's event entry, with what it was as a trapframe on its stack. */
void inject(struct trapframe *tf, u64 vector, u64 error, u64 address) {
    struct xgate_vcpu *v = vcpu();
    u64 at = v->stack - sizeof *tf;
    struct trapframe *frame = kernel_memory(at, sizeof *tf);

    if (!frame)
        kill_container("its stack is not its own", v->stack);
    *frame = *tf;
    frame->vector = vector;
    frame->error = error;
    v->interrupts = 0;
    v->pending = 0;
    tf->rip = self->header.event_entry;
    tf->rsp = at;
    tf->rdi = at;
    tf->rsi = address;
    tf->rflags = 0x202;
    tf->vector = 0;             /* all registers are to be restored */
    wrpkru(PKRU_KERNEL);
}

u64 take_waiting(void) {
    u64 irq = (u64)__builtin_ctzl(self->waiting);

    self->waiting &= self->waiting - 1;
    return VEC_IRQ0 + irq;
}

/* What waits for the container: now, or on its kernel's way out. */
static void deliver(struct trapframe *tf) {
    struct xgate_vcpu *v = vcpu();

    if (!in_container_kernel(tf, rdpkru()) || OFF(hold))
        inject(tf, take_waiting(), 0, 0);
    else if (tf->rip >= self->header.exit_start && tf->rip <= self->header.exit_end)
        back_to_user(tf, v->stack - sizeof *tf);        /* the gate has looked already; its frame is still whole */
    else
        v->pending = 1;
}

static void interrupt(struct trapframe *tf, u64 vector) {
    interrupt_done(vector);
    if (vector == VEC_IRQ0)
        timer_rings();
    else
        interrupt_for_console(vector - VEC_IRQ0);
    if (!(tf->cs & 3))
        return;                 /* the host itself was waiting */
    slice_over();
    if (self->waiting)
        deliver(tf);
}

void arch_trap(struct trapframe *tf, u64 address) {
    if (tf->vector == VECTOR_80) {      /* its gate lets nobody in, but for off=int80 */
        hypercall(tf);
        return;
    }
    if (tf->vector >= VEC_IRQ0) {
        interrupt(tf, tf->vector);
        return;
    }
    if (!(tf->cs & 3))
        panic("exception %lu, error %lx, in the host at rip %lx, address %lx", tf->vector, tf->error, tf->rip, address);
    if (!in_container_kernel(tf, rdpkru())) {
        inject(tf, tf->vector, tf->error, address);
        return;
    }
    if (tf->vector == VECTOR_PF && !(tf->error & PF_P) && bind_on_touch(address))
        return;
    if (tf->vector == VECTOR_DB) {
        tf->rflags &= ~FLAG_TF; /* container user set it before the gate: it ends here */
        return;
    }
    print("exception %lu, error %lx, address %lx, in the container kernel", tf->vector, tf->error, address);
    kill_container("its kernel failed at", tf->rip);
}

/* SYSCALL.  RIP is past the instruction. */
void trap(struct trapframe *tf, u64 address) {
    (void)address;
    if (in_container_kernel(tf, rdpkru()) || OFF(caller))
        hypercall(tf);
    else
        inject(tf, VEC_SYSCALL, 0, 0);
}
