/* What a container has of the processor under RunV, beside what every host keeps (host.h). */
#ifndef VCPU_H
#define VCPU_H

#include "control.h"
#include "devices.h"
#include "shadow.h"
#include "types.h"
#include "vmcs.h"
#include "x86.h"

/* By the numbers that instructions give them; RSP is in the VMCS. */
enum { RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, REGISTERS = 16 };

#define SWITCHED_MSRS 6

struct vcpu {
    u64 registers[REGISTERS];   /* first: entry.S finds them there */
    u64 host_rsp;               /* as HOST_RSP says */
    void *vmcs;                 /* a page each */
    u64 *ept;
    bool launched;
    u32 primary;                /* primary processor-based controls, as they are in the VMCS */
    bool event;                 /* one is to be injected at the next entry */
    /* What VM entry and exit leave as it is: while another container runs it is here. */
    u64 msrs[SWITCHED_MSRS], cr2, dr[4], dr6, xcr0;
    u32 pkru;
    struct devices devices;
    /* With shadow paging. */
    struct shadows shadows;
    u64 cr3, efer;              /* as the guest has them */
    u64 direct;                 /* where it sees guest-physical 0, by its last request to Pager */
};

/* Nothing of the host's lies in a shadow table. */
#define HOST_SLOT TABLE_ENTRIES
#define FIRST_KIND SHADOW_WHOLE
#define LAST_KIND SHADOW_WHOLE

#define FLAG_AC (1UL << 18)

static inline bool write_protects(void) { return vmread(GUEST_CR0) & CR0_WP; }

/* Of a user page: SMEP and SMAP.  At CPL 3 it is an implicit access, which AC does not open. */
static inline bool supervisor_may(u64 wanted) {
    u64 cr4 = vmread(GUEST_CR4);

    if (wanted & PF_FETCH)
        return !(cr4 & CR4_SMEP);
    return !(cr4 & CR4_SMAP) || (vmread(GUEST_RFLAGS) & FLAG_AC && ACCESS_DPL(vmread(of_segment(GUEST_ACCESS, SS))) != 3);
}

void vcpu_ahead(void);
void vcpu_bound(const u64 *blocks, u64 count);

#endif
