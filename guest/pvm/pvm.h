/* What the files of the PVM runtime share. */
#ifndef PVM_H
#define PVM_H

#include "host.h"
#include "switcher.h"

#define VECTOR_GP 13
#define VECTOR_PF 14

static inline bool is_canonical(u64 va) { return va >> 47 == 0 || va >> 47 == 0x1ffff; }
static inline bool in_user_mode(void) { return switcher.flags & SWITCH_USER; }

#define GUEST_DIRECT 0xffff888000000000UL       /* where a guest finds all of its memory mapped (load.c); as in guest/pvkernel/layout.h */

/* vcpu.c */
extern bool has_keys, has_pcid;
bool load_cr3(u64 cr3);                         /* false: no page of the guest's */
void ready_to_enter(void);                      /* the last thing before the guest */

/* memory.c */
void page_fault(struct trapframe *, u64 address);
bool prefault(u64 address, u64 error);
void drop_page(u64 address);                    /* INVLPG */

/* event.c */
void event(struct trapframe *, u64 vector, u64 error, u64 address);
void deliver_interrupt(struct trapframe *);     /* one waits: now, or when the guest lets it */
void event_return(struct trapframe *);          /* to user mode, as the PVCS says */

/* hypercall.c */
void hypercall(struct trapframe *);
bool write_msr(u64 msr, u64 value);
bool read_msr(u64 msr, u64 *value);
void synthetic_cpuid(struct trapframe *);

/* privileged.c: #GP in supervisor mode.  False: the instruction is none that we do. */
bool emulate(struct trapframe *);

#endif
