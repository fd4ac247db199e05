/* What of a thread lies in the processor and in the PVCS, beside the trapframe. */
#include "platform/entry.h"
#include "platform/keys.h"
#include "pvkernel.h"
#include "x86.h"

void plat_set_kstack(void *top) { kernel_stack = (u64)top; }

void plat_set_fsbase(u64 base) { write_fs_base(base); }
void plat_set_gsbase(u64 base) { pvcs.user_gsbase = base; }
u64 plat_get_fsbase(void) { return read_fs_base(); }
u64 plat_get_gsbase(void) { return pvcs.user_gsbase; }

void plat_save(struct plat_context *c) {
    *c = (struct plat_context){.fs = plat_get_fsbase(), .gs = plat_get_gsbase(), .own = {plat_pkru()}};
}

void plat_load(const struct plat_context *c) {
    plat_set_fsbase(c->fs);
    plat_set_gsbase(c->gs);
    plat_set_pkru((u32)c->own[0]);
}

void plat_reset_user_state(void) {
    plat_set_fsbase(0);
    plat_set_gsbase(0);
    plat_reset_pkru();
}

void plat_leave_gate(struct trapframe *tf) { (void)tf; }

bool plat_emulate(struct trapframe *tf) {
    (void)tf;
    return false;
}
