/* CR0, CR4, CR8 and XCR0.  The host owns the bits that VMX or the whole machine needs; the guest reads its own of them from
 * the shadows.
 * Source: SDM volume 3, "Guest/Host Masks and Read Shadows for CR0 and CR4", "Exit Qualification for Control-Register Accesses". */
#include "control.h"
#include "runv.h"
#include "x86.h"

#define XCR0_OFFERED 0x203UL    /* x87, SSE, PKRU: what the host switches */

enum { MOV_TO, MOV_FROM };

static u64 xcr0;                /* what the processor has of it; 0 without XSAVE */

u64 xcr0_offered(void) { return xcr0; }

static void set_xcr0(u64 value) { asm volatile("xsetbv" :: "c"(0), "a"((u32)value), "d"((u32)(value >> 32))); }

/* The host runs with what its guests' registers need. */
void control_init(void) {
    u64 cr4 = read_cr4() | CR4_OSFXSR | CR4_OSXMMEXCPT;

    if (cpuid(7, 0).c & 1u << 3) cr4 |= CR4_PKE;
    if (cpuid(1, 0).c >> 26 & 1) {
        cr4 |= CR4_OSXSAVE;
        xcr0 = cpuid(0xd, 0).a & XCR0_OFFERED;
    }
    write_cr4(cr4);
    write_cr0((read_cr0() | CR0_MP) & ~CR0_EM);
}

void control_fill(void) {
    vmwrite(CR0_MASK, CR0_OWNED);
    vmwrite(CR4_MASK, ~CR4_OFFERED);
    vmwrite(CR0_READ_SHADOW, CR0_ET);
    vmwrite(CR4_READ_SHADOW, 0);
    vmwrite(GUEST_CR0, CR0_PE | CR0_ET | CR0_NE);
    vmwrite(GUEST_CR3, 0);
    vmwrite(GUEST_CR4, CR4_VMXE);
}

/* What a VMCS does not hold: it stays in the processor while the host runs. */
void control_load(struct vcpu *v) {
    write_cr2(v->cr2);
    if (read_cr4() & CR4_PKE)
        wrpkru(v->pkru);
    if (xcr0)
        set_xcr0(v->xcr0);
    asm volatile("mov %0, %%db0; mov %1, %%db1; mov %2, %%db2; mov %3, %%db3; mov %4, %%db6"
                 :: "r"(v->dr[0]), "r"(v->dr[1]), "r"(v->dr[2]), "r"(v->dr[3]), "r"(v->dr6));
}

void control_put(struct vcpu *v) {
    v->cr2 = read_cr2();
    if (read_cr4() & CR4_PKE)
        v->pkru = rdpkru();
    asm volatile("mov %%db0, %0; mov %%db1, %1; mov %%db2, %2; mov %%db3, %3; mov %%db6, %4"
                 : "=r"(v->dr[0]), "=r"(v->dr[1]), "=r"(v->dr[2]), "=r"(v->dr[3]), "=r"(v->dr6));
}

/* The guest changes a bit of its own that only looks so: once the shadow has it, the same instruction does all the rest. */
static void write_guest_cr0(struct vcpu *v, u64 value) {
    if (value >> 32 || (value & CR0_NW && !(value & CR0_CD)))
        inject_fault(v, VECTOR_GP, 0);
    else if (shadow_paging)
        spt_write_cr0(v, value);
    else
        vmwrite(CR0_READ_SHADOW, (vmread(CR0_READ_SHADOW) & ~CR0_OWNED) | (value & CR0_OWNED));
}

static u64 register_value(const struct vcpu *v, u64 number) { return number == RSP ? vmread(GUEST_RSP) : v->registers[number]; }

static void set_register(struct vcpu *v, u64 number, u64 value) {
    if (number == RSP)
        vmwrite(GUEST_RSP, value);
    else
        v->registers[number] = value;
    finish_instruction(v);
}

static void write_guest_cr8(struct vcpu *v, u64 value) {
    if (value >> 4) {
        inject_fault(v, VECTOR_GP, 0);
        return;
    }
    v->devices.apic.tpr = (u32)value << 4;
    finish_instruction(v);
}

void control_exit(struct vcpu *v) {
    u64 qualification = vmread(EXIT_QUALIFICATION), which = qualification & 15, type = qualification >> 4 & 3;
    u64 number = qualification >> 8 & 15;

    if (which == 0 && type == MOV_TO)
        write_guest_cr0(v, register_value(v, number));
    else if (which == 3 && type == MOV_TO)
        spt_write_cr3(v, register_value(v, number));
    else if (which == 3)
        set_register(v, number, v->cr3);
    else if (which == 4 && type == MOV_TO && shadow_paging)
        spt_write_cr4(v, register_value(v, number));
    else if (which == 4 && type == MOV_TO)
        inject_fault(v, VECTOR_GP, 0);          /* a bit that is not offered: reserved, to the guest */
    else if (which == 8 && type == MOV_FROM)
        set_register(v, number, v->devices.apic.tpr >> 4);
    else if (which == 8)
        write_guest_cr8(v, register_value(v, number));
    else
        kill_container("a control-register access that nobody wants", qualification);
}

/* The guest's registers become the host's own XCR0: a value that the processor refuses would fault here. */
void xsetbv_exit(struct vcpu *v) {
    u64 value = v->registers[RDX] << 32 | (u32)v->registers[RAX];

    if (!OFF(xcr0) && ((u32)v->registers[RCX] || value & ~xcr0 || !(value & 1))) {
        inject_fault(v, VECTOR_GP, 0);
        return;
    }
    set_xcr0(v->xcr0 = value);
    finish_instruction(v);
}
