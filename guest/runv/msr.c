/* Model-specific registers.  Most of those that a kernel uses are its own: VM entry and exit switch them, or the host does when
 * another container runs, and they do not exit.  The rest is emulated, or not the guest's.
 * Source: SDM volume 3, "MSR-Bitmap Address". */
#include "runv.h"
#include "x86.h"

#define APIC_BASE 0x1b
#define TIME_STAMP_COUNTER 0x10
#define SYSENTER_CS 0x174
#define SYSENTER_EIP 0x176
#define PAT 0x277
#define X2APIC_LAST 0x8ff
#define EFER 0xc0000080
#define STAR 0xc0000081
#define CSTAR 0xc0000083
#define SFMASK 0xc0000084
#define FS_BASE 0xc0000100
#define KERNEL_GS_BASE 0xc0000102
#define TSC_AUX 0xc0000103

static u8 bitmap[PAGE_SIZE] __attribute__((aligned(4096)));     /* four quarters: reads below 2000H, reads from C0000000H, writes … */

static const u32 switched[SWITCHED_MSRS] = {STAR, MSR_LSTAR, CSTAR, SFMASK, KERNEL_GS_BASE, TSC_AUX};
static int switched_count;              /* TSC_AUX is the last, and comes with RDTSCP */

static void pass(u32 first, u32 last, bool reads, bool writes) {
    for (u32 msr = first; msr <= last; msr++) {
        u32 byte = (msr & 0x1fff) / 8 + (msr >> 31 ? PAGE_SIZE / 4 : 0);
        u8 bit = (u8)(1 << (msr & 7));
        if (reads)
            bitmap[byte] &= ~bit;
        if (writes)
            bitmap[byte + PAGE_SIZE / 2] &= ~bit;
    }
}

void msr_init(void) {
    bool rdtscp = cpuid(0x80000001, 0).d >> 27 & 1;

    memset(bitmap, OFF(msrs) ? 0 : 0xff, sizeof bitmap);
    switched_count = SWITCHED_MSRS - !rdtscp;
    pass(TIME_STAMP_COUNTER, TIME_STAMP_COUNTER, true, false);
    pass(SYSENTER_CS, SYSENTER_EIP, true, true);
    pass(PAT, PAT, true, true);
    pass(shadow_paging ? STAR : EFER, SFMASK, true, true);
    pass(FS_BASE, rdtscp ? TSC_AUX : KERNEL_GS_BASE, true, true);
}

u64 msr_bitmap(void) { return (u64)bitmap - KERNEL_BASE; }

void msr_load(struct vcpu *v) {
    for (int i = 0; i < switched_count; i++)
        wrmsr(switched[i], v->msrs[i]);
}

void msr_put(struct vcpu *v) {
    for (int i = 0; i < switched_count; i++)
        v->msrs[i] = rdmsr(switched[i]);
}

static void refuse(u32 msr) { kill_container("it used an MSR that is not its own", msr); }

void rdmsr_exit(struct vcpu *v) {
    u32 msr = (u32)v->registers[RCX];
    u64 value = 0;

    if (msr == APIC_BASE)
        value = v->devices.apic.base;
    else if (msr == MSR_TSC_DEADLINE)
        value = self->deadline;
    else if (msr == EFER && shadow_paging)
        value = v->efer;
    else if (msr < MSR_X2APIC || msr > X2APIC_LAST || !vapic_read(&v->devices.apic, (msr - MSR_X2APIC) * 16, &value))
        refuse(msr);
    v->registers[RAX] = (u32)value;
    v->registers[RDX] = value >> 32;
    finish_instruction(v);
}

void wrmsr_exit(struct vcpu *v) {
    u32 msr = (u32)v->registers[RCX];
    u64 value = v->registers[RDX] << 32 | (u32)v->registers[RAX];

    if (msr == MSR_TSC_DEADLINE) {
        self->deadline = value;
        timer_arm();
    } else if (msr == APIC_BASE) {
        if (!vapic_set_base(&v->devices.apic, value))
            refuse(msr);
    } else if (msr == EFER && shadow_paging) {
        if (!spt_write_efer(v, value)) {
            inject_fault(v, VECTOR_GP, 0);
            return;
        }
    } else if (msr < MSR_X2APIC || msr > X2APIC_LAST || !vapic_write(&v->devices.apic, (msr - MSR_X2APIC) * 16, value)) {
        refuse(msr);
    }
    finish_instruction(v);
}
