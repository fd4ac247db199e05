/* What of a thread lies in the processor, beside the trapframe. */
#include "native.h"
#include "platform/entry.h"
#include "platform/keys.h"
#include "x86.h"

static bool has_fsgsbase(void) { return cr4 & CR4_FSGSBASE; }

void plat_set_fsbase(u64 base) {
    if (has_fsgsbase())
        write_fs_base(base);
    else
        wrmsr(MSR_FS_BASE, base);
}

void plat_set_gsbase(u64 base) {
    if (has_fsgsbase())
        write_gs_base(base);
    else
        wrmsr(MSR_GS_BASE, base);
}

u64 plat_get_fsbase(void) { return has_fsgsbase() ? read_fs_base() : rdmsr(MSR_FS_BASE); }
u64 plat_get_gsbase(void) { return has_fsgsbase() ? read_gs_base() : rdmsr(MSR_GS_BASE); }

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

/* Neither a gate nor an instruction to emulate: the processor does it all. */
void plat_leave_gate(struct trapframe *tf) { (void)tf; }

bool plat_emulate(struct trapframe *tf) {
    (void)tf;
    return false;
}

u64 plat_hwcap(void) { return cpuid(1, 0).d; }
