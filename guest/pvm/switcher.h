/* What the switcher needs of the guest that runs, at an address that all tables have. */
#ifndef SWITCHER_H
#define SWITCHER_H

#define SWITCH_USER      1      /* the guest is in user mode */
#define SWITCH_BY_HOST   2      /* its next return to user mode is the host's affair */
#define SWITCH_KEYS      4      /* there is a PKRU */
#define SWITCH_READY     8      /* it has a PVCS, and entries */

/* struct switcher, for assembly. */
#define SW_FLAGS     0
#define SW_HOST_CR3  8
#define SW_SMOD_CR3  16
#define SW_UMOD_CR3  24
#define SW_PVCS      32
#define SW_RETU_RIP  40
#define SW_ENTRY     48
#define SW_GS        56
#define SW_RSP       64

#define FLAGS_GUEST 0x254dd5            /* RFLAGS of a guest: arithmetic, TF, DF, NT, RF, AC, ID */
#define FLAGS_FIXED 0x202
#define FLAGS_SLOW  0x10100             /* RF, TF: SYSRET takes none of them along as IRET does */

#ifndef __ASSEMBLER__
#include "abi.h"

struct switcher {
    u64 flags;
    u64 host_cr3, smod_cr3, umod_cr3;
    struct pvm_vcpu_struct *pvcs;
    u64 retu_rip;               /* behind the SYSCALL that returns to user mode */
    u64 entry;                  /* of system calls: LSTAR */
    u64 gs;                     /* KERNEL_GS_BASE */
    u64 rsp;                    /* scratch */
};
extern struct switcher switcher;
#endif
#endif
