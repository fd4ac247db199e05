/* Every way from a guest into the host, but for the direct switches (switcher.S). */
#include "pvm.h"

static void exception(struct trapframe *tf, u64 address) {
    if (tf->vector == VECTOR_PF)
        page_fault(tf, address);
    else if (tf->vector != VECTOR_GP || in_user_mode() || !emulate(tf))
        event(tf, tf->vector, tf->error, 0);
}

void arch_trap(struct trapframe *tf, u64 address) {
    bool host_waits = !(tf->cs & 3);

    if (tf->vector >= VEC_IRQ0) {
        interrupt(tf->vector);
        if (host_waits)
            return;
        schedule_if_slice_over();
    } else if (host_waits) {
        panic("exception %lu, error %lx, in the host at rip %lx, address %lx", tf->vector, tf->error, tf->rip, address);
    } else {
        exception(tf, address);
    }
    if (self->waiting)
        deliver_interrupt(tf);
    ready_to_enter();
}

/* SYSCALL of the guest's kernel.  RIP is past the instruction. */
void trap(struct trapframe *tf, u64 address) {
    (void)address;
    if (switcher.pvcs && tf->rip == switcher.retu_rip)
        event_return(tf);
    else
        hypercall(tf);
    ready_to_enter();
}
