/* Events: what the guest's kernel is told of by way of its PVCS, and its return to user mode.
 * Source: pvm-spec.rst, "Events and Mode Changing". */
#include "pvm.h"
#include "selectors.h"
#include "x86.h"

static u64 canonical(u64 va) { return (u64)((i64)(va << 16) >> 16); }

static void leave_user_mode(struct pvm_vcpu_struct *p, const struct trapframe *tf) {
    p->user_cs = (u16)tf->cs;
    p->user_ss = (u16)tf->ss;
    p->user_gsbase = read_gs_base();
    write_gs_base(switcher.gs);
    if (has_keys) {
        p->pkru = rdpkru();
        wrpkru(0);
    }
    switcher.flags &= ~(u64)SWITCH_USER;
}

void event(struct trapframe *tf, u64 vector, u64 error, u64 address) {
    struct pvm_vcpu_struct *p = switcher.pvcs;
    struct vcpu *v = &self->vcpu;
    bool user = in_user_mode();

    if (!p || !v->event_entry)
        kill_container("triple fault: an event before it has said where events go", vector);
    if (!user && p->event_vector >> 8) {
        print("exception %lu, error %lx, address %lx, rip %lx", vector, error, address, tf->rip);
        kill_container("triple fault: an event while another one is being taken", vector);
    }
    if (!user)
        p->event_flags &= ~(u64)PVM_EVENT_FLAGS_IF;
    p->event_vector = (u16)((p->event_vector & 0xff00) | PVM_EVENT_VECTOR_STD | vector);
    p->event_errcode = (u16)error;
    p->eflags = (u32)tf->rflags;
    p->rip = tf->rip;
    p->rcx = tf->rcx;
    p->r11 = tf->r11;
    if (vector == VECTOR_PF)
        p->cr2 = address;
    if (user) {
        leave_user_mode(p, tf);
        if (vector == VECTOR_PF) {      /* the way back is by the host, which then looks again */
            v->faulted = true;
            v->fault = address;
            v->fault_error = error & (PF_WRITE | PF_FETCH | PF_USER);
            switcher.flags |= SWITCH_BY_HOST;
        }
    }
    tf->cs = USER_CS;
    tf->ss = USER_SS;
    tf->rflags = tf->r11 = FLAGS_FIXED;
    tf->rip = tf->rcx = v->event_entry + (user ? 0 : PVM_SUPERVISOR_ENTRY);
}

void deliver_interrupt(struct trapframe *tf) {
    struct pvm_vcpu_struct *p = switcher.pvcs;

    if (p && (in_user_mode() || p->event_flags & PVM_EVENT_FLAGS_IF)) {
        p->event_flags &= ~(u64)PVM_EVENT_FLAGS_IP;
        devices_notice(&self->vcpu.devices, self->waiting);
        event(tf, take_interrupt(), 0, 0);
        return;
    }
    if (p)
        p->event_flags |= PVM_EVENT_FLAGS_IP;
    switcher.flags |= SWITCH_BY_HOST;
}

/* Everything in the PVCS is the guest's word. */
void event_return(struct trapframe *tf) {
    struct pvm_vcpu_struct *p = switcher.pvcs;
    struct vcpu *v = &self->vcpu;

    tf->rip = p->rip;
    tf->rcx = p->rcx;
    tf->r11 = p->r11;
    tf->cs = OFF(selectors) ? p->user_cs : USER_CS;
    tf->ss = OFF(selectors) ? p->user_ss : USER_SS;
    tf->rflags = OFF(flags) ? p->eflags : (p->eflags & FLAGS_GUEST) | FLAGS_FIXED;
    write_gs_base(canonical(p->user_gsbase));
    if (has_keys)
        wrpkru(p->pkru);
    switcher.flags |= SWITCH_USER;
    switcher.flags &= ~(u64)SWITCH_BY_HOST;
    if (v->faulted && option("prefault", 1))
        prefault(v->fault, v->fault_error);
    v->faulted = false;
    if (!OFF(selectors) && (p->user_cs != USER_CS || p->user_ss != USER_SS))
        event(tf, VECTOR_GP, p->user_cs & ~3u, 0);
    else if (self->waiting)
        deliver_interrupt(tf);
}
