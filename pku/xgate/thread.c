/* What of a thread lies in the processor and in the gate, beside the trapframe. */
#include "mm/vm.h"
#include "platform/entry.h"
#include "platform/keys.h"
#include "x86.h"
#include "xgate.h"

void plat_set_kstack(void *top) { xgate_vcpu.stack = (u64)top; }

void plat_set_fsbase(u64 base) { write_fs_base(base); }
void plat_set_gsbase(u64 base) { write_gs_base(base); }
u64 plat_get_fsbase(void) { return read_fs_base(); }
u64 plat_get_gsbase(void) { return read_gs_base(); }

/* The gate's scratch page belongs to the thread that is in the gate. */
void plat_save(struct plat_context *c) {
    *c = (struct plat_context){plat_get_fsbase(), plat_get_gsbase(), {xgate_scratch[0], xgate_scratch[1], xgate_vcpu.pkru}};
}

void plat_load(const struct plat_context *c) {
    entries_must_not_wait();    /* it may leave by the gate */
    plat_set_fsbase(c->fs);
    plat_set_gsbase(c->gs);
    xgate_scratch[0] = c->own[0];
    xgate_scratch[1] = c->own[1];
    xgate_vcpu.pkru = c->own[2] | PKRU_USER;
}

void plat_reset_user_state(void) { plat_load(&(struct plat_context){.own = {0, 0, PKRU_START}}); }

/* A thread was interrupted inside the gate while it had user rights.  Before a signal handler runs (its own gate
 * calls overwrite the scratch page), finish the half-done crossing: on the entry side rewind RIP to the SYSCALL, on
 * the exit side complete the return. */
void plat_leave_gate(struct trapframe *tf) {
    const char *at = (const char *)tf->rip;

    if (at >= xgate_entry && at <= xgate_enter_wrpkru) {
        tf->rax = at >= xgate_has_rax ? tf->r11 : tf->rax;
        tf->rdx = at >= xgate_has_rdx ? xgate_scratch[1] : tf->rdx;
        tf->rcx = at >= xgate_has_rcx ? xgate_scratch[0] : tf->rcx;
        tf->rip = tf->rcx - 2;
    } else if (at > xgate_exit_wrpkru && at < xgate_refused) {
        tf->rax = tf->r11;
        tf->rdx = xgate_scratch[1];
        tf->rip = tf->rcx = xgate_scratch[0];
    }
}
