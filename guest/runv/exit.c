/* VM exits, by their reason.
 * Source: SDM volume 3, "VMX Basic Exit Reasons". */
#include "bind.h"
#include "memory.h"
#include "pager.h"
#include "policy.h"
#include "runv.h"
#include "x86.h"

#define FLAG_TF (1UL << 8)
/* What KVM answers: there is no such hypercall, and programs may make none (Linux, include/uapi/linux/kvm_para.h). */
#define NO_HYPERCALL -1000UL
#define NOT_FROM_RING_3 -1UL

enum reason {
    EXCEPTION_OR_NMI = 0, EXTERNAL_INTERRUPT = 1, TRIPLE_FAULT = 2, INTERRUPT_WINDOW = 7, TASK_SWITCH = 9, CPUID = 10,
    HLT = 12, INVD = 13, INVLPG = 14, RDPMC = 15, VMCALL = 18, VMCLEAR = 19, VMXON = 27, CONTROL_REGISTER = 28, IO = 30, RDMSR = 31,
    WRMSR = 32, MWAIT = 36, MONITOR = 39, EPT_VIOLATION = 48, EPT_MISCONFIGURATION = 49, INVEPT = 50, INVVPID = 53,
    WBINVD = 54, XSETBV = 55, REASONS,
};

bool in_user_mode(void) { return ACCESS_DPL(vmread(of_segment(GUEST_ACCESS, SS))) == 3; }

/* As the processor ends an instruction: RIP moves, its shadow of interrupts ends, TF makes a debug exception pending. */
void skip(u64 length) {
    u64 rip = vmread(GUEST_RIP), next = rip + length;
    u64 blocked = vmread(GUEST_INTERRUPTIBILITY);

    if ((rip ^ next) >> 32 && !OFF(rip) && !(vmread(of_segment(GUEST_ACCESS, CS)) & ACCESS_LONG))
        next = (u32)next;
    vmwrite(GUEST_RIP, next);
    if (blocked & (BLOCKED_BY_STI | BLOCKED_BY_MOV_SS))
        vmwrite(GUEST_INTERRUPTIBILITY, blocked & ~(u64)(BLOCKED_BY_STI | BLOCKED_BY_MOV_SS));
    if (vmread(GUEST_RFLAGS) & FLAG_TF)
        vmwrite(GUEST_PENDING_DEBUG, vmread(GUEST_PENDING_DEBUG) | PENDING_BS);
}

void finish_instruction(struct vcpu *v) {
    (void)v;
    skip(vmread(EXIT_INSTRUCTION_LENGTH));
}

static void external_interrupt(struct vcpu *v) {
    (void)v;
    interrupt(vmread(EXIT_INTERRUPTION_INFO) & EVENT_VECTOR);
    schedule_if_slice_over();
}

static void exception_or_nmi(struct vcpu *v) {
    u32 event = (u32)vmread(EXIT_INTERRUPTION_INFO);

    if (shadow_paging && (event & (EVENT_TYPE | EVENT_VECTOR)) == (EVENT_EXCEPTION | VECTOR_PF))
        spt_page_fault(v);
    else if ((event & EVENT_TYPE) != EVENT_NMI)
        panic("exception %u in a guest at rip %lx", event & EVENT_VECTOR, vmread(GUEST_RIP));
}

static void triple_fault(struct vcpu *v) {
    (void)v;
    kill_container("triple fault at", vmread(GUEST_RIP));
}

static void task_switch(struct vcpu *v) {
    (void)v;
    kill_container("a task switch at", vmread(GUEST_RIP));
}

static void ept_misconfiguration(struct vcpu *v) {
    (void)v;
    panic("EPT misconfiguration for %lx", vmread(GUEST_PHYSICAL_ADDRESS));
}

/* The devices are asked before each entry. */
static void interrupt_window(struct vcpu *v) { (void)v; }

static void hlt(struct vcpu *v) {
    finish_instruction(v);
    wait_for_event(v);
}

/* There is nothing in a cache that the host's memory lacks. */
static void cache(struct vcpu *v) { finish_instruction(v); }

static void undefined(struct vcpu *v) { inject_exception(v, VECTOR_UD); }
static void rdpmc(struct vcpu *v) { inject_fault(v, VECTOR_GP, 0); }

static u64 hypercall(struct vcpu *v) {
    if (in_user_mode())
        return NOT_FROM_RING_3;
    switch (v->registers[RAX]) {
    case PAGER_HYPERCALL:
        v->direct = v->registers[RDX];
        return (u64)pager_request(v->registers[RBX], v->registers[RCX]);
    case MEMORY_HYPERCALL: return (u64)policy_request(v->registers[RBX], v->registers[RCX], v->registers[RDX]);
    default: return NO_HYPERCALL;
    }
}

static void vmcall(struct vcpu *v) {
    v->registers[RAX] = hypercall(v);
    finish_instruction(v);
}

static void (*const handlers[REASONS])(struct vcpu *) = {
    [EXCEPTION_OR_NMI] = exception_or_nmi, [EXTERNAL_INTERRUPT] = external_interrupt, [TRIPLE_FAULT] = triple_fault,
    [INTERRUPT_WINDOW] = interrupt_window, [TASK_SWITCH] = task_switch, [CPUID] = cpuid_exit, [HLT] = hlt,
    [INVD] = cache, [INVLPG] = spt_invlpg, [WBINVD] = cache, [RDPMC] = rdpmc, [VMCALL] = vmcall, [VMCLEAR ... VMXON] = undefined,
    [MWAIT] = undefined, [MONITOR] = undefined, [INVEPT] = undefined, [INVVPID] = undefined,
    [CONTROL_REGISTER] = control_exit, [XSETBV] = xsetbv_exit, [IO] = port_exit, [RDMSR] = rdmsr_exit,
    [WRMSR] = wrmsr_exit, [EPT_VIOLATION] = ept_violation, [EPT_MISCONFIGURATION] = ept_misconfiguration,
};

void handle_exit(struct vcpu *v) {
    u32 reason = (u32)vmread(EXIT_REASON);

    v->event = false;
    if (reason & ENTRY_FAILED && OFF(entry))
        panic("VM entry of container %d failed, rip %lx", self->number, vmread(GUEST_RIP));
    if (reason & ENTRY_FAILED)
        kill_container("no processor state to enter", vmread(GUEST_RIP));
    if (reason >= REASONS || !handlers[reason])
        kill_container("an exit that nobody wants", reason);
    handlers[reason](v);
}
