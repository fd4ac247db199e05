/* The fields of a new VMCS: what the host comes back with, what exits, and the state that a boot loader leaves.
 * Sources: SDM volume 3, "Checks on VMX Controls and Host-State Area", "Checks on the Guest State Area"; Multiboot
 * Specification 0.6.96, "Machine state". */
#include "runv.h"
#include "selectors.h"
#include "x86.h"

#define MSR_PAT 0x277
#define MSR_EFER 0xc0000080
#define PAT_AT_RESET 0x0007040600070406UL
#define RFLAGS_ALWAYS 2
#define DR7_AT_RESET 0x400

#define ACCESS_FLAT 0xc093u     /* data: present, writable, accessed, 4 GiB */
#define ACCESS_FLAT_CODE 0xc09bu
#define ACCESS_BUSY_TSS 0x8bu
#define TSS_LIMIT 0x67

struct table { u16 limit; u64 base; } __attribute__((packed));

extern u64 boot_pml4[];         /* in .boot: a physical address */

static u8 io_bitmaps[2][PAGE_SIZE] __attribute__((aligned(4096)));

/* The base in a descriptor of 16 bytes. */
static u64 descriptor_base(const u64 *d) { return (d[0] >> 16 & 0xffffff) | (d[0] >> 56) << 24 | d[1] << 32; }

static void fill_host(void) {
    struct table gdt, idt;

    asm volatile("sgdt %0" : "=m"(gdt));
    asm volatile("sidt %0" : "=m"(idt));
    vmwrite(HOST_CR0, read_cr0());
    vmwrite(HOST_CR3, (u64)boot_pml4);
    vmwrite(HOST_CR4, read_cr4());
    vmwrite(HOST_PAT, rdmsr(MSR_PAT));
    vmwrite(HOST_EFER, rdmsr(MSR_EFER));
    for (enum segment s = ES; s <= GS; s++)
        vmwrite(of_segment(HOST_SELECTOR, s), s == CS ? KERNEL_CS : s == SS ? KERNEL_SS : 0);
    vmwrite(of_segment(HOST_SELECTOR, TR - 1), TSS_SELECTOR);
    vmwrite(HOST_FS_BASE, 0);
    vmwrite(HOST_GS_BASE, 0);
    vmwrite(HOST_TR_BASE, descriptor_base((u64 *)(gdt.base + TSS_SELECTOR)));
    vmwrite(HOST_GDTR_BASE, gdt.base);
    vmwrite(HOST_IDTR_BASE, idt.base);
    vmwrite(HOST_SYSENTER_CS, 0);
    vmwrite(HOST_SYSENTER_ESP, 0);
    vmwrite(HOST_SYSENTER_EIP, 0);
    vmwrite(HOST_RIP, (u64)vm_exit);
}

static u32 secondary_controls(void) {
    u32 wanted = SECONDARY_VPID | SECONDARY_WBINVD_EXITING | (shadow_paging ? 0 : SECONDARY_EPT | SECONDARY_UNRESTRICTED_GUEST);

    if (cpuid(0x80000001, 0).d >> 27 & 1) wanted |= SECONDARY_RDTSCP;
    if (cpuid(7, 0).b >> 10 & 1 && !shadow_paging) wanted |= SECONDARY_INVPCID;
    return vmx_controls(wanted, MSR_VMX_SECONDARY, "secondary processor-based");
}

/* What shadow paging must see. */
#define PRIMARY_PAGING (PRIMARY_INVLPG_EXITING | PRIMARY_CR3_LOAD_EXITING | PRIMARY_CR3_STORE_EXITING)

static void fill_controls(struct vcpu *v) {
    v->primary = vmx_controls(PRIMARY_HLT_EXITING | PRIMARY_MWAIT_EXITING | PRIMARY_RDPMC_EXITING | PRIMARY_CR8_LOAD_EXITING
                              | PRIMARY_CR8_STORE_EXITING | PRIMARY_IO_BITMAPS | PRIMARY_MSR_BITMAPS | PRIMARY_MONITOR_EXITING
                              | PRIMARY_SECONDARY_CONTROLS | (shadow_paging ? PRIMARY_PAGING : 0), MSR_VMX_PRIMARY, "primary processor-based");
    vmwrite(PIN_CONTROLS, vmx_controls((OFF(preempt) ? 0 : PIN_EXTERNAL_INTERRUPT_EXITING) | PIN_NMI_EXITING | PIN_VIRTUAL_NMIS,
                                       MSR_VMX_PIN, "pin-based"));
    vmwrite(PRIMARY_CONTROLS, v->primary);
    vmwrite(SECONDARY_CONTROLS, secondary_controls());
    vmwrite(EXIT_CONTROLS, vmx_controls(EXIT_HOST_ADDRESS_SPACE_SIZE | EXIT_ACKNOWLEDGE_INTERRUPT | EXIT_SAVE_PAT | EXIT_LOAD_PAT
                                        | EXIT_SAVE_EFER | EXIT_LOAD_EFER | EXIT_SAVE_DEBUG_CONTROLS, MSR_VMX_EXIT, "VM-exit"));
    vmwrite(ENTRY_CONTROLS, vmx_controls(ENTRY_LOAD_DEBUG_CONTROLS | ENTRY_LOAD_PAT | ENTRY_LOAD_EFER
                                         | (shadow_paging ? ENTRY_IA32E_MODE_GUEST : 0), MSR_VMX_ENTRY, "VM-entry"));
    memset(io_bitmaps, OFF(ports) ? 0 : 0xff, sizeof io_bitmaps);
    vmwrite(IO_BITMAP_A, (u64)io_bitmaps[0] - KERNEL_BASE);
    vmwrite(IO_BITMAP_B, (u64)io_bitmaps[1] - KERNEL_BASE);
    vmwrite(MSR_BITMAP, msr_bitmap());
    if (!shadow_paging)
        vmwrite(EPT_POINTER, ept_pointer(v));
    vmwrite(VPID, (u64)self->slot + 1);
    vmwrite(EXCEPTION_BITMAP, shadow_paging ? 1 << VECTOR_PF : 0);      /* with any error code */
    vmwrite(PFEC_MASK, 0);
    vmwrite(PFEC_MATCH, 0);
    vmwrite(VMCS_LINK_POINTER, ~0UL);
}

/* 32-bit protected mode, flat segments, paging off, interrupts off. */
static void fill_guest(void) {
    for (enum segment s = ES; s <= TR; s++) {
        vmwrite(of_segment(GUEST_SELECTOR, s), s == CS ? KERNEL_CS : s < LDTR ? KERNEL_SS : 0);
        vmwrite(of_segment(GUEST_BASE, s), 0);
        vmwrite(of_segment(GUEST_LIMIT, s), s < LDTR ? 0xffffffff : TSS_LIMIT);
        vmwrite(of_segment(GUEST_ACCESS, s), s == CS ? ACCESS_FLAT_CODE : s < LDTR ? ACCESS_FLAT : s == TR ? ACCESS_BUSY_TSS : ACCESS_UNUSABLE);
    }
    vmwrite(GUEST_GDTR_BASE, 0);
    vmwrite(GUEST_GDTR_LIMIT, 0);
    vmwrite(GUEST_IDTR_BASE, 0);
    vmwrite(GUEST_IDTR_LIMIT, 0);
    vmwrite(GUEST_DR7, DR7_AT_RESET);
    vmwrite(GUEST_RSP, 0);
    vmwrite(GUEST_RFLAGS, RFLAGS_ALWAYS);
    vmwrite(GUEST_PENDING_DEBUG, 0);
    vmwrite(GUEST_INTERRUPTIBILITY, 0);
    vmwrite(GUEST_ACTIVITY, 0);
    vmwrite(GUEST_DEBUGCTL, 0);
    vmwrite(GUEST_PAT, PAT_AT_RESET);
    vmwrite(GUEST_EFER, 0);
    vmwrite(GUEST_SYSENTER_CS, 0);
    vmwrite(GUEST_SYSENTER_ESP, 0);
    vmwrite(GUEST_SYSENTER_EIP, 0);
}

void vmcs_fill(struct vcpu *v) {
    fill_host();
    fill_controls(v);
    fill_guest();
    control_fill();
    if (shadow_paging)
        spt_fill();
}
