/* Hypercalls by their numbers, and MSRs.
 * Source: pvm-spec.rst, "Hypercall event in supervisor mode", "PVM MSRs", "X86 MSR". */
#include "pager.h"
#include "bind.h"
#include "memory.h"
#include "policy.h"
#include "pvm.h"
#include "platform/time.h"
#include "selectors.h"
#include "x86.h"

#define MSR_EFER 0xc0000080
#define MSR_KERNEL_GS_BASE 0xc0000102
#define KVM_ENOSYS 1000UL
#define STAR_GUEST ((u64)USER_BASE << 48 | (u64)KERNEL_CS << 32)

static u64 address_range(void) {
    return 0xffffUL << 48 | 0xffffUL << 32 | (u64)(0xfe00 | HOST_SLOT) << 16 | (0xfe00 | GUEST_SLOT);
}

/* RETU_RIP counts once there is a PVCS to return by. */
static void ready_to_switch(void) {
    switcher.retu_rip = switcher.pvcs && self->vcpu.retu_rip ? self->vcpu.retu_rip + 2 : 0;
}

/* A PVCS in a page table of its own is the guest's own damage: what is shadowed of it was its memory, and stays so. */
static bool set_pvcs(u64 gpa) {
    u64 hpa = gpa >> PAGE_SHIFT < self->pages ? binding_get(gpa & ~PAGE_MASK) : 0;

    if (OFF(pvcs))
        hpa = gpa & ~PAGE_MASK;
    if ((gpa & PAGE_MASK) + sizeof(struct pvm_vcpu_struct) > PAGE_SIZE || gpa & 7 || (gpa && !hpa && !OFF(pvcs)))
        return false;
    self->vcpu.pvcs = gpa;
    switcher.pvcs = gpa ? (void *)((u8 *)host(hpa) + (gpa & PAGE_MASK)) : NULL;
    return true;
}

static bool set_address(u64 *to, u64 va) {
    if (!is_canonical(va) && !OFF(canonical))
        return false;
    *to = va;
    return true;
}

/* Both entries, of which the second may lie behind the end of the lower half. */
static bool set_event_entry(u64 va) {
    return (is_canonical(va + PVM_SUPERVISOR_ENTRY) || OFF(canonical)) && set_address(&self->vcpu.event_entry, va);
}

static bool set_deadline(u64 deadline) {
    self->vcpu.tsc_deadline = deadline;
    pv_timer(deadline);
    return true;
}

static bool set_base(void (*write)(u64), u64 va) {
    if (!is_canonical(va))
        return false;
    write(va);
    return true;
}

bool write_msr(u64 msr, u64 value) {
    struct vcpu *v = &self->vcpu;
    bool done = false;

    switch (msr) {
    case PVM_MSR_VCPU_STRUCT: done = set_pvcs(value); break;
    case PVM_MSR_EVENT_ENTRY: done = set_event_entry(value); break;
    case PVM_MSR_RETU_RIP: done = set_address(&v->retu_rip, value); break;
    case PVM_MSR_LINEAR_ADDRESS_RANGE: return value == address_range();
    case MSR_LSTAR: return set_address(&switcher.entry, value);
    case MSR_KERNEL_GS_BASE: return set_address(&switcher.gs, value);
    case MSR_STAR: return value == STAR_GUEST;
    case MSR_SFMASK: return true;       /* has no effect */
    case MSR_FS_BASE: return set_base(write_fs_base, value);
    case MSR_GS_BASE: return set_base(write_gs_base, value);
    case MSR_TSC_DEADLINE: return set_deadline(value);
    }
    ready_to_switch();
    return done;
}

bool read_msr(u64 msr, u64 *value) {
    const struct vcpu *v = &self->vcpu;

    switch (msr) {
    case PVM_MSR_VCPU_STRUCT: *value = v->pvcs; return true;
    case PVM_MSR_EVENT_ENTRY: *value = v->event_entry; return true;
    case PVM_MSR_RETU_RIP: *value = v->retu_rip; return true;
    case PVM_MSR_LINEAR_ADDRESS_RANGE: *value = address_range(); return true;
    case MSR_LSTAR: *value = switcher.entry; return true;
    case MSR_KERNEL_GS_BASE: *value = switcher.gs; return true;
    case MSR_STAR: *value = STAR_GUEST; return true;
    case MSR_FS_BASE: *value = read_fs_base(); return true;
    case MSR_GS_BASE: *value = read_gs_base(); return true;
    case MSR_TSC_DEADLINE: *value = v->tsc_deadline; return true;
    case MSR_EFER: *value = rdmsr(MSR_EFER); return true;
    }
    return false;
}

/* What the hypervisor says of the processor: what the processor says, and two leaves of KVM's. */
void synthetic_cpuid(struct trapframe *tf) {
    struct cpuid c = cpuid((u32)tf->rax, (u32)tf->rcx);

    if ((u32)tf->rax == KVM_CPUID_SIGNATURE)
        c = (struct cpuid){KVM_CPUID_TIMING, 0x4b4d564b, 0x564b4d56, 0x4d};
    else if ((u32)tf->rax == KVM_CPUID_TIMING)
        c = (struct cpuid){(u32)(plat_cycles_per_second() / 1000), 0, 0, 0};
    tf->rax = c.a, tf->rbx = c.b, tf->rcx = c.c, tf->rdx = c.d;
}

/* ---- by number ---- */

static i64 load_pgtbl(u64 flags, u64 cr3) {
    struct shadows *s = &self->vcpu.shadows;

    if (flags & ~(u64)PVM_LOAD_FLUSH || !load_cr3(cr3))
        return -EINVAL;
    if (flags & PVM_LOAD_FLUSH)
        shadows_sync(s);
    ready_to_enter();           /* which tells the tags */
    if (flags & PVM_LOAD_FLUSH && has_pcid) {
        invpcid(INVPCID_ONE, switcher.smod_cr3 & PAGE_MASK, 0);
        invpcid(INVPCID_ONE, switcher.umod_cr3 & PAGE_MASK, 0);
    }
    return 0;
}

static i64 flush(void) {
    shadows_sync(&self->vcpu.shadows);
    self->vcpu.shadows.flush = true;
    return 0;
}

static i64 invalidate(u64 va) {
    drop_page(va);
    if (has_pcid && is_canonical(va)) {
        invpcid(INVPCID_PAGE, switcher.smod_cr3 & PAGE_MASK, va);
        invpcid(INVPCID_PAGE, switcher.umod_cr3 & PAGE_MASK, va);
    }
    return 0;
}

static i64 load_gs(u64 selector) {
    u16 gs = selector == USER_SS ? USER_SS : 0;

    asm volatile("mov %w0, %%gs" :: "r"(gs));
    return (i64)read_gs_base();
}

/* STI and HLT: what waits comes as an event behind the hypercall. */
static void halt(struct trapframe *tf) {
    if (!switcher.pvcs)
        kill_container("a halt that nothing can end", tf->rip);
    tf->rax = 0;
    switcher.pvcs->event_flags |= PVM_EVENT_FLAGS_IF;
    wait_for_interrupt();
    deliver_interrupt(tf);
}

static void irq_window(struct trapframe *tf) {
    tf->rax = 0;
    if (self->waiting)
        deliver_interrupt(tf);
}

void hypercall(struct trapframe *tf) {
    u64 number = tf->rax, a = tf->rbx, b = tf->r10, value = 0;

    switch (number) {
    case PVM_HC_LOAD_PGTBL: tf->rax = (u64)load_pgtbl(a, b); break;
    case PVM_HC_IRQ_WIN: irq_window(tf); break;
    case PVM_HC_IRQ_HLT: halt(tf); break;
    case PVM_HC_TLB_FLUSH: case PVM_HC_TLB_FLUSH_CURRENT: tf->rax = (u64)flush(); break;
    case PVM_HC_TLB_INVLPG: tf->rax = (u64)invalidate(a); break;
    case PVM_HC_LOAD_GS: tf->rax = (u64)load_gs(a); break;
    case PVM_HC_RDMSR: tf->rax = read_msr((u32)a, &value) ? value : 0; break;
    case PVM_HC_WRMSR: tf->rax = write_msr((u32)a, b) ? 0 : (u64)-EINVAL; break;
    case PAGER_HYPERCALL: tf->rax = (u64)pager_request(a, b); break;
    case MEMORY_HYPERCALL: tf->rax = (u64)policy_request(a, b, tf->rdx); break;
    default: tf->rax = -KVM_ENOSYS;     /* LOAD_TLS too: segments are for 32-bit programs */
    }
}
