/* What a guest has of the processor under PVM, beside what every host keeps (host.h). */
#ifndef VCPU_H
#define VCPU_H

#include "abi.h"
#include "devices.h"
#include "platform/entry.h"
#include "shadow.h"
#include "switcher.h"

/* The guest's part of the address space: the lower half, and of the upper half these entries of level 4. */
#define GUEST_SLOT 256
#define HOST_SLOT 288

#define FIRST_KIND SHADOW_SUPERVISOR
#define LAST_KIND SHADOW_USER

/* WP and SMEP are always on, SMAP never.  The second: of a user page. */
static inline bool write_protects(void) { return true; }
static inline bool supervisor_may(u64 wanted) { return !(wanted & PF_FETCH); }

struct vcpu {
    struct shadows shadows;
    struct switcher switcher;   /* while it does not run */
    u64 cr3;                    /* guest-physical */
    u64 pvcs, event_entry, retu_rip, star;
    u64 tsc_deadline;
    u64 fault, fault_error;     /* a page fault that its kernel has been told of: it is looked at again on the way back */
    bool faulted;
    struct devices devices;     /* its UARTs; interrupts come as events, with no 8259 and no APIC between */
    bool interrupts[2];         /* what each UART's line said last */
    u64 fs, gs, pkru;
    struct trapframe start;
};

void vcpu_ahead(void);
void vcpu_bound(const u64 *blocks, u64 count);

#endif
