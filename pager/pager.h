/* What a container kernel and its host agree on to bind guest memory ahead of use.
 *
 * A request is one page of words, unbinds before binds, and how many there are of each; a word is a block of pages:
 *
 *   │ unbind … unbind │ bind … bind │          63 ─── guest-physical ─── 12 │ 11 … 4: 0 │ 3 … 0: order
 *
 * A bind is answered before it is used, so a request is synchronous.  Unbinds are in no hurry: they wait on the page for
 * the next bind.  The host takes unbinds first, all of them, then as many binds as it has memory for, each whole or not
 * at all; it says how many.  What it binds is cleared.  From a container's first request on, nothing else binds a page.
 */
#ifndef PAGER_H
#define PAGER_H

/* The hypercall: the request, guest-physical; unbinds << 32 | binds → blocks bound, or negative.  HC_PAGER under ParaCell; under
 * PVM and RunV this number, which the list of theirs has not, and under RunV only where CPUID says so.  There RDX says where the
 * kernel sees guest-physical 0, for a host that has shadow tables. */
#define PAGER_HYPERCALL 0x70616765
#define PAGER_CPUID     0x40000000      /* EBX, ECX, EDX: "ParaCellRunV" */
#define PAGER_EBX       0x61726150
#define PAGER_ECX       0x6c6c6543
#define PAGER_EDX       0x566e7552

#define PAGER_WORDS 512
#define PAGER_ORDER 15UL        /* of a word */
#define PAGER_MOST_ORDER 10     /* blocks of 1 to 1024 pages */
#define PAGER_TURNS 8           /* of others, before a host without memory says so */

#endif
