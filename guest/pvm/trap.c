/* Every way from a guest into the host, but for the direct switches (switcher.S). */
#include "pvm.h"

static void exception(struct trapframe *tf, u64 address) {
    if (tf->vector == VECTOR_PF)
        page_fault(tf, address);
    else if (tf->vector != VECTOR_GP || in_user_mode() || !emulate(tf))
        event(tf, tf->vector, tf->error, 0);
}

/* IRET and SYSRET fault in ring 0 on an address that is not canonical.  The instruction before may lead to one, too: SYSCALL
 * as the last bytes of the lower half, or one that the host has done.  The guest faults there as if it had run on. */
static void leave_host(struct trapframe *tf) {
    if (!OFF(canonical) && !is_canonical(tf->rip))
        event(tf, VECTOR_GP, 0, 0);
    ready_to_enter();
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
    leave_host(tf);
}

/* SYSCALL of the guest's kernel.  RIP is past the instruction. */
void trap(struct trapframe *tf, u64 address) {
    (void)address;
    if (switcher.pvcs && tf->rip == switcher.retu_rip)
        event_return(tf);
    else
        hypercall(tf);
    leave_host(tf);
}
