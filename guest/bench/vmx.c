/* A virtual machine for `paracell bench`, with an EPT that maps its memory to itself and a VPID.  It runs one function of ours on
 * tables of ours and exits by VMCALL; what the host does then is three instructions (loops.S).
 * Source: SDM volume 3, "VM Entries", "VM Exits". */
#include "types.h"
#include "vmcs.h"

#define CR0_NE (1UL << 5)
#define CR4_VMXE (1UL << 13)
#define MSR_FEATURE_CONTROL 0x3a
#define MSR_VMX_BASIC 0x480
#define MSR_VMX_TRUE_PIN 0x48d  /* then primary, VM-exit, VM-entry */
#define MSR_EFER 0xc0000080
#define ENTRY_IA32E_MODE (1u << 9)
#define ACCESS_CODE64 0xa09b
#define ACCESS_DATA 0xc093
#define ACCESS_TSS 0x8b
#define EPT_ALL 7               /* RWX */
#define EPT_PAGE 0xb0           /* large, write-back */
#define VMCALL 18               /* an exit reason */
#define EPTP_4_LEVELS 0x1e      /* write-back */

struct table { u16 limit; u64 base; } __attribute__((packed));

void vmx_exit(void);
void vmx_run(void (*body)(u64), u64 argument, u64 exits);
void guest_start(void);

static u8 regions[2][4096] __attribute__((aligned(4096)));      /* VMXON region, VMCS */
static u64 ept[3][512] __attribute__((aligned(4096)));
static u8 guest_stack[4096] __attribute__((aligned(16)));

static u64 rdmsr(u32 msr) {
    u32 low, high;

    asm volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(msr));
    return (u64)high << 32 | low;
}

static void wrmsr(u32 msr, u64 value) { asm volatile("wrmsr" :: "c"(msr), "a"((u32)value), "d"(value >> 32)); }

static u64 least(u32 number) { return (u32)rdmsr(MSR_VMX_TRUE_PIN + number); }   /* the controls that must be 1 */

#define CR(n) ({ u64 v; asm volatile("mov %%cr" #n ", %0" : "=r"(v)); v; })

/* Go into VMX root operation, with a current VMCS. */
static void begin(void) {
    u64 at;

    for (int i = 0; i < 2; i++)
        *(u32 *)regions[i] = (u32)rdmsr(MSR_VMX_BASIC) & 0x7fffffff;
    wrmsr(MSR_FEATURE_CONTROL, 5);
    asm volatile("mov %0, %%cr0" :: "r"(CR(0) | CR0_NE));
    asm volatile("mov %0, %%cr4" :: "r"(CR(4) | CR4_VMXE));
    at = (u64)regions[0];
    asm volatile("vmxon %0" :: "m"(at) : "cc", "memory");
    at = (u64)regions[1];
    asm volatile("vmclear %0; vmptrld %0" :: "m"(at) : "cc", "memory");
}

/* 1 GiB in pages of 2 MiB, each at its own address. */
static u64 identity(void) {
    ept[0][0] = (u64)ept[1] | EPT_ALL;
    ept[1][0] = (u64)ept[2] | EPT_ALL;
    for (u64 i = 0; i < 512; i++)
        ept[2][i] = i << 21 | EPT_ALL | EPT_PAGE;
    return (u64)ept[0] | EPTP_4_LEVELS;
}

static void fill(void) {
    struct table gdt, idt;

    asm volatile("sgdt %0" : "=m"(gdt));
    asm volatile("sidt %0" : "=m"(idt));
    vmwrite(PIN_CONTROLS, least(0));
    vmwrite(PRIMARY_CONTROLS, least(1) | PRIMARY_SECONDARY_CONTROLS);
    vmwrite(SECONDARY_CONTROLS, SECONDARY_EPT | SECONDARY_VPID);
    vmwrite(EXIT_CONTROLS, least(2) | EXIT_HOST_ADDRESS_SPACE_SIZE | EXIT_SAVE_EFER | EXIT_LOAD_EFER);
    vmwrite(ENTRY_CONTROLS, least(3) | ENTRY_IA32E_MODE | ENTRY_LOAD_EFER);
    vmwrite(EPT_POINTER, identity());
    vmwrite(VPID, 1);
    vmwrite(VMCS_LINK_POINTER, ~0UL);
    for (enum segment s = ES; s <= TR; s++) {
        vmwrite(of_segment(GUEST_SELECTOR, s), s == CS ? 8 : s == TR ? 24 : s == LDTR ? 0 : 16);
        vmwrite(of_segment(GUEST_LIMIT, s), s < LDTR ? 0xffffffff : 0x67);
        vmwrite(of_segment(GUEST_ACCESS, s), s == CS ? ACCESS_CODE64 : s == LDTR ? ACCESS_UNUSABLE : s == TR ? ACCESS_TSS : ACCESS_DATA);
        if (s < LDTR)
            vmwrite(of_segment(HOST_SELECTOR, s), s == CS ? 8 : 16);
    }
    vmwrite(of_segment(HOST_SELECTOR, TR - 1), 24);
    vmwrite(GUEST_CR0, CR(0)), vmwrite(HOST_CR0, CR(0));
    vmwrite(GUEST_CR3, CR(3)), vmwrite(HOST_CR3, CR(3));
    vmwrite(GUEST_CR4, CR(4)), vmwrite(HOST_CR4, CR(4));
    vmwrite(GUEST_EFER, rdmsr(MSR_EFER)), vmwrite(HOST_EFER, rdmsr(MSR_EFER));
    vmwrite(GUEST_GDTR_BASE, gdt.base), vmwrite(HOST_GDTR_BASE, gdt.base);
    vmwrite(GUEST_IDTR_BASE, idt.base), vmwrite(HOST_IDTR_BASE, idt.base);
    vmwrite(GUEST_GDTR_LIMIT, gdt.limit), vmwrite(GUEST_IDTR_LIMIT, idt.limit);
    vmwrite(GUEST_RFLAGS, 2);
    vmwrite(GUEST_RSP, (u64)(guest_stack + sizeof guest_stack));
    vmwrite(GUEST_RIP, (u64)guest_start);
    vmwrite(HOST_RIP, (u64)vmx_exit);
}

static void nothing(u64 unused) { (void)unused; }

void bench_vmread(u64 count);

/* N times VMREAD. */
void vmx_read(u64 count) {
    begin();
    bench_vmread(count);
}

/* N exits by VMCALL: RIP stays, so each entry makes the next.  False if the last was for another reason. */
bool vmx_exits(u64 count) {
    begin();
    fill();
    vmx_run(nothing, 0, count);
    return vmread(EXIT_REASON) == VMCALL;
}

/* A function of ours inside the machine, which exits when that is done. */
bool vmx_inside(void (*body)(u64), u64 argument) {
    begin();
    fill();
    vmx_run(body, argument, 1);
    return vmread(EXIT_REASON) == VMCALL;
}
