/* The control registers under shadow paging: the host owns what decides how addresses are translated.
 * Source: SDM volume 3, "Control Registers", "Initializing IA-32e Mode". */
#include "control.h"
#include "runv.h"
#include "x86.h"

#define CR0_PAGING (CR0_PE | CR0_WP | CR0_PG)
#define CR4_PAGING (CR4_PAE | CR4_PGE)
#define EFER_FORCED (EFER_LME | EFER_LMA | EFER_NXE)

static void set_efer(struct vcpu *v, u64 efer) {
    v->efer = efer;
    vmwrite(GUEST_EFER, efer | EFER_FORCED);
}

void spt_fill(void) {
    vmwrite(CR0_MASK, CR0_OWNED | CR0_PAGING);
    vmwrite(CR0_READ_SHADOW, CR0_ET | CR0_PE);
    vmwrite(GUEST_CR0, CR0_ET | CR0_NE | CR0_PAGING);
    vmwrite(CR4_MASK, ~CR4_OFFERED | CR4_PCIDE | CR4_PAGING);
    vmwrite(GUEST_CR4, CR4_VMXE | CR4_PAE);
    vmwrite(GUEST_EFER, EFER_FORCED);
}

/* Paging goes on or off; false: #GP. */
static bool set_paging(struct vcpu *v, bool on) {
    if (on && !(v->efer & EFER_LME))
        kill_container("mmu=spt has no 32-bit paging; on at", vmread(GUEST_RIP));
    if (on ? !(vmread(CR4_READ_SHADOW) & CR4_PAE) : (vmread(of_segment(GUEST_ACCESS, CS)) & ACCESS_LONG) != 0)
        return false;
    set_efer(v, on ? v->efer | EFER_LMA : v->efer & ~EFER_LMA);
    return true;
}

/* Once the shadow says it, the same instruction does the rest. */
void spt_write_cr0(struct vcpu *v, u64 value) {
    u64 changed = (value ^ vmread(CR0_READ_SHADOW)) & CR0_PG;

    if ((value & CR0_PG && !(value & CR0_PE)) || (changed && !set_paging(v, value & CR0_PG))) {
        inject_fault(v, VECTOR_GP, 0);
        return;
    }
    if (!(value & CR0_PE))
        kill_container("mmu=spt has no real mode; at", vmread(GUEST_RIP));
    if ((value & (CR0_PG | CR0_WP)) == CR0_PG)
        kill_container("mmu=spt has no paging without CR0.WP; at", vmread(GUEST_RIP));
    vmwrite(CR0_READ_SHADOW, CR0_ET | (value & (CR0_OWNED | CR0_PAGING)));
    if (changed)
        spt_switch(v);
}

void spt_write_cr4(struct vcpu *v, u64 value) {
    if (value & (~CR4_OFFERED | CR4_PCIDE) || (v->efer & EFER_LMA && !(value & CR4_PAE))) {
        inject_fault(v, VECTOR_GP, 0);
        return;
    }
    vmwrite(CR4_READ_SHADOW, value & CR4_PAGING);
    spt_switch(v);                      /* a change of PGE drops all translations */
}

void spt_write_cr3(struct vcpu *v, u64 value) {
    if (value & ~(PTE_ADDRESS | PAGE_MASK)) {
        inject_fault(v, VECTOR_GP, 0);
        return;
    }
    v->cr3 = value;
    if (has_paging())
        spt_switch(v);
    finish_instruction(v);
}

bool spt_write_efer(struct vcpu *v, u64 value) {
    if (value & ~(EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE) || ((value ^ v->efer) & EFER_LME && has_paging()))
        return false;
    set_efer(v, (value & ~EFER_LMA) | (v->efer & EFER_LMA));
    return true;
}
