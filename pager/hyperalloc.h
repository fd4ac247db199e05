/* What LLFree keeps of the memory, and the host of HyperAlloc reads and changes with it.
 * Sources: Wrenger and others, "LLFree", USENIX ATC '23, and "HyperAlloc", EuroSys '25.
 *
 *   tree     │ 15 reserved │ 14 13 kind │ 12 … 0: free frames of its 8 children, but for what its owner counts │
 *   child    │ 15 evicted │ 14 allocated as a whole │ 13 … 10: 0 │ 9 … 0: free frames of 512 │       a frame of 2 MiB
 *   field    512 bits, a bit for each frame of 4 KiB: 1 = in use, or none of ours                   the container's alone
 *
 *   evicted, free 512                       the host has taken its memory; whoever allocates of it has it installed first
 *   evicted, allocated                      … or the host has taken the frame for good, until it returns it
 *
 * Both sides change a word by compare-and-swap alone: the host may run between any two instructions of the container.
 */
#ifndef HYPERALLOC_H
#define HYPERALLOC_H

#define CHILD_ORDER 9
#define CHILD_FRAMES (1u << CHILD_ORDER)
#define TREE_CHILDREN 8u
#define TREE_ORDER 12
#define TREE_FRAMES (1u << TREE_ORDER)

#define CHILD_FREE 0x03ffu
#define CHILD_ALLOCATED 0x4000u
#define CHILD_EVICTED 0x8000u
#define TREE_FREE 0x1fffu
#define TREE_KIND_SHIFT 13
#define TREE_KIND (3u << TREE_KIND_SHIFT)
#define TREE_RESERVED 0x8000u

/* Functions of the hypercall (memory.h).  Both answer 0, or negative. */
#define HYPERALLOC_SHARE 1      /* where the words of the children stand, guest-physical, those of the trees behind them; trees */
#define HYPERALLOC_INSTALL 2    /* a child: memory for it, cleared; -ENOMEM: the host has none */

/* `old` was there: then `new` is; else what was there is in `old`. */
#define SWAP(at, old, new) __atomic_compare_exchange_n(at, old, new, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)
#define LOAD(at) __atomic_load_n(at, __ATOMIC_SEQ_CST)

#endif
