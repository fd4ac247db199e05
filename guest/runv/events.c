/* Exceptions and interrupts on their way into the guest.
 * Source: SDM volume 3, "VM-Entry Controls for Event Injection", "Information for VM Exits That Occur During Event Delivery". */
#include "control.h"
#include "runv.h"
#include "x86.h"

#define FLAG_IF (1UL << 9)

static void inject(struct vcpu *v, u32 event) {
    vmwrite(ENTRY_INTERRUPTION_INFO, event | EVENT_VALID);
    v->event = true;
}

void inject_exception(struct vcpu *v, u64 vector) { inject(v, (u32)vector | EVENT_EXCEPTION); }

void inject_fault(struct vcpu *v, u64 vector, u64 error) {
    if (!(vmread(GUEST_CR0) & CR0_PE) && !OFF(event)) {
        inject_exception(v, vector);    /* real mode has no error codes, and VM entry takes none */
        return;
    }
    vmwrite(ENTRY_ERROR_CODE, error);
    inject(v, (u32)vector | EVENT_EXCEPTION | EVENT_ERROR_CODE);
}

void inject_again(struct vcpu *v) {
    u32 event = (u32)vmread(IDT_VECTORING_INFO);

    if (!(event & EVENT_VALID))
        return;
    if (event & EVENT_ERROR_CODE)
        vmwrite(ENTRY_ERROR_CODE, vmread(IDT_VECTORING_ERROR_CODE));
    if ((event & EVENT_TYPE) >= EVENT_SOFTWARE)
        vmwrite(ENTRY_INSTRUCTION_LENGTH, vmread(EXIT_INSTRUCTION_LENGTH));
    inject(v, event & EVENT_INJECTABLE);
}

static bool takes_interrupts(void) {
    return vmread(GUEST_RFLAGS) & FLAG_IF && !(vmread(GUEST_INTERRUPTIBILITY) & (BLOCKED_BY_STI | BLOCKED_BY_MOV_SS));
}

static void want_window(struct vcpu *v, bool wanted) {
    u32 now = wanted ? v->primary | PRIMARY_INTERRUPT_WINDOW_EXITING : v->primary & ~PRIMARY_INTERRUPT_WINDOW_EXITING;

    if (now != v->primary)
        vmwrite(PRIMARY_CONTROLS, v->primary = now);
}

static void notice(struct vcpu *v) {
    if (self->waiting) {
        devices_notice(&v->devices, self->waiting);
        self->waiting = 0;
    }
}

void inject_interrupt(struct vcpu *v) {
    notice(v);
    if (devices_pending(&v->devices) < 0) {
        want_window(v, false);
        return;
    }
    if (v->event || !takes_interrupts()) {
        want_window(v, true);
        return;
    }
    inject(v, (u32)devices_acknowledge(&v->devices) | EVENT_INTERRUPT);
    want_window(v, devices_pending(&v->devices) >= 0);
}

void wait_for_event(struct vcpu *v) {
    if (!(vmread(GUEST_RFLAGS) & FLAG_IF))
        kill_container("it halted with interrupts off", vmread(GUEST_RIP));
    for (notice(v); devices_pending(&v->devices) < 0; notice(v))
        wait_for_interrupt();
}
