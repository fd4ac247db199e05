/* What the ParaCell host and the container kernel agree on.
 *
 * Both kernels' and the program's pages are in one address space:
 *
 *   0x0000000000000000  container user     key 0
 *   0xffff888000000000  container kernel   key 1: its direct map of guest-physical memory
 *   0xffff900000000000  host               supervisor: its direct map of host-physical memory
 *   0xffffffff80000000  container kernel   key 1: its image, the gate in it
 *   0xffffffffc0000000  host               supervisor: its image
 */
#ifndef XGATE_ABI_H
#define XGATE_ABI_H

#define GK_DIRECT 0xffff888000000000
#define GK_BASE   0xffffffff80000000
#define GK_LOAD   0x100000              /* guest-physical, and where the header stands */
#define GK_MAGIC  0x314b47656c6c6543    /* "CellGK1" */

#define KEY_KERNEL 1
#define PKRU_KERNEL 0x0
#define PKRU_USER   0xc                 /* AD and WD of key 1: in every value that container user runs with */
#define PKRU_START  0x5555555c          /* a new program: key 0 only, as on Linux */

/* Hypercalls: SYSCALL in the container kernel, with its rights.  Number in RAX,
 * arguments in RDI, RSI, RDX, R10, R8; the result in RAX, negative is an error. */
#define HC_AS_CREATE     0
#define HC_AS_DESTROY    1      /* as */
#define HC_AS_SWITCH     2      /* as */
#define HC_PTE_SET       3      /* as, va, entries, count → 0 or -ENOMEM, with the entries before set */
#define HC_RETURN        4      /* trapframe (within a page), as, va, entries, count: set these, if any, as PTE_SET does; back to container user */
#define HC_TIMER         5      /* deadline */
#define HC_WAIT          6      /* → the vector that came */
#define HC_CONSOLE_WRITE 7      /* stream, from, count */
#define HC_CONSOLE_READ  8      /* stream, to, count */
#define HC_EXIT          9      /* status */
#define HC_HZ           10
#define HC_UNBIND       11      /* guest-physical page → 0, -EBUSY if still mapped, -EINVAL if not bound */
#define HC_PAGER        12      /* a request, and counts (pager/pager.h) → how many blocks were bound */
#define HC_MEMORY       13      /* a function of the host's memory policy, and two arguments (pager/memory.h) */
#define HC_COUNT        14
#define HC_LIMIT        512     /* entries in one PTE_SET or RETURN */

#ifndef __ASSEMBLER__
#include "boot.h"
#include "types.h"

/* What the gate needs of its processor, in key-protected memory at a fixed address. */
struct xgate_vcpu {
    u64 stack;                  /* where the next entry from container user begins */
    u64 user_rsp;
    u64 interrupts;             /* virtual IF */
    u64 pending;                /* the host holds an interrupt back until the way out */
    u64 pkru;                   /* container user's: PKRU_USER, and its own keys */
};

/* At the start of the image: where things are. */
struct gk_header {
    u64 magic, entry, event_entry;
    u64 text_start, text_end;
    u64 refused;                /* the gate ends here with #UD if PKRU has an unexpected value */
    struct xgate_vcpu *vcpu;
    u8 *scratch;                /* the one page of the image that container user may write */
    u64 exit_start, exit_end;   /* the way out behind the look at `pending`: an interrupt here goes out by the host */
    u8 *check[2], *take_stack;  /* instructions that a positive control changes (defence.h) */
};
#endif
#endif
