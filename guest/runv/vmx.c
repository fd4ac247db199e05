/* VMX operation of the host.
 * Source: SDM volume 3, "Introduction to VMX Operation", "VMX Capability Reporting Facility". */
#include "runv.h"
#include "x86.h"

#define CR0_NE (1UL << 5)
#define CR4_VMXE (1UL << 13)
#define MSR_FEATURE_CONTROL 0x3a
#define FEATURE_LOCK 1
#define FEATURE_VMXON 4         /* outside SMX operation */
#define MSR_VMX_BASIC 0x480
#define MSR_VMX_EPT_VPID_CAP 0x48c
#define BASIC_TRUE (1UL << 55)
#define TRUE_CONTROLS 0xc       /* from an MSR of controls to the one that says it better, where BASIC_TRUE is set */
/* Page walks of length 4, write-back tables, 2-MiB pages, INVEPT and INVVPID for one context. */
#define EPT_VPID_NEEDED (1UL << 6 | 1UL << 14 | 1UL << 16 | 1UL << 20 | 1UL << 25 | 1UL << 32 | 1UL << 41)

static u8 region[PAGE_SIZE] __attribute__((aligned(4096)));    /* VMXON region */

static void set_revision(void *vmcs) { *(u32 *)vmcs = (u32)rdmsr(MSR_VMX_BASIC) & 0x7fffffff; }

/* The physical address of what a VMX instruction is given. */
static u64 address(const void *p) { return (u64)p >= KERNEL_BASE ? (u64)p - KERNEL_BASE : host_physical(p); }

#define VMX_INSTRUCTION(name, pa) ({ \
        u64 at = (pa); bool failed; \
        asm volatile(name " %1" : "=@ccbe"(failed) : "m"(at) : "memory"); \
        failed; })

void vmx_init(void) {
    u64 control;

    if (!(cpuid(1, 0).c >> 5 & 1))
        panic("this processor has no VMX");
    control = rdmsr(MSR_FEATURE_CONTROL);
    if (!(control & FEATURE_LOCK))
        wrmsr(MSR_FEATURE_CONTROL, control |= FEATURE_LOCK | FEATURE_VMXON);
    if (!(control & FEATURE_VMXON))
        panic("the firmware has switched VMX off");
    if (~rdmsr(MSR_VMX_EPT_VPID_CAP) & EPT_VPID_NEEDED)
        panic("this processor lacks a capability of EPT or VPIDs: it has %lx", rdmsr(MSR_VMX_EPT_VPID_CAP));
    write_cr0(read_cr0() | CR0_NE);
    write_cr4(read_cr4() | CR4_VMXE);
    set_revision(region);
    if (VMX_INSTRUCTION("vmxon", address(region)))
        panic("VMXON failed");
}

u32 vmx_controls(u32 wanted, u32 msr, const char *what) {
    u64 allowed = rdmsr(rdmsr(MSR_VMX_BASIC) & BASIC_TRUE && msr != MSR_VMX_SECONDARY ? msr + TRUE_CONTROLS : msr);

    if (wanted & ~(allowed >> 32))
        panic("this processor lacks %s controls %x", what, wanted & ~(u32)(allowed >> 32));
    return wanted | (u32)allowed;
}

void vmcs_clear(void *vmcs) {
    set_revision(vmcs);
    if (VMX_INSTRUCTION("vmclear", address(vmcs)))
        panic("VMCLEAR failed");
}

void vmcs_load(void *vmcs) {
    if (VMX_INSTRUCTION("vmptrld", address(vmcs)))
        panic("VMPTRLD failed");
}

static void invalidate(u64 type, const u64 *descriptor, bool ept) {
    if (ept)
        asm volatile("invept %1, %0" :: "r"(type), "m"(*(const u64(*)[2])descriptor) : "cc", "memory");
    else
        asm volatile("invvpid %1, %0" :: "r"(type), "m"(*(const u64(*)[2])descriptor) : "cc", "memory");
}

void invept(u64 pointer) { invalidate(1, (u64[2]){pointer}, true); }
void invvpid(u64 vpid) { invalidate(1, (u64[2]){vpid}, false); }
