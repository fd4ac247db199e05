/* What a container has of the processor under RunV, beside what every host keeps (host.h). */
#ifndef VCPU_H
#define VCPU_H

#include "devices.h"
#include "types.h"

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
};

#endif
