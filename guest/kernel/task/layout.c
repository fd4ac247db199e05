/* The layout of an address space: where what can be anywhere goes.
 *
 *   0x400000 │ program, not relocatable │ heap → …
 *   PIE_BASE │ program, relocatable │ heap →  …  ← mappings, the loader first │ 64 MiB │ ← stack │ USER_TOP
 *
 * With `seed=N` on the kernel's command line each of them moves by a number of pages that the seed chooses,
 * unless the process asked for the contrary with personality().
 */
#include "fs/device.h"
#include "kernel.h"
#include "mm/vm.h"
#include "process.h"
#include "program.h"

#define NO_SEED (~0UL)
#define ADDR_NO_RANDOMIZE 0x40000
#define PIE_BASE 0x555555554000UL
#define MAPPINGS_BELOW (64UL << 20)     /* the stack's top: what it may want (vma_grow) */
#define SOMEWHERE_PAGES (1UL << 28)     /* as Linux: 28 bits for mappings and programs, */
#define STACK_PAGES (1UL << 22)         /* 22 for the stack, */
#define HEAP_PAGES (1UL << 13)          /* and 32 MiB for the heap */

static u64 some_pages(u64 most, const struct process *p) {
    u64 random;

    if (option("seed", NO_SEED) == NO_SEED || p->personality & ADDR_NO_RANDOMIZE)
        return 0;
    random_bytes((u8 *)&random, sizeof random);
    return (random & (most - 1)) << PAGE_SHIFT;
}

void place(struct mm *mm, const struct process *p) {
    mm->stack_top = USER_TOP - some_pages(STACK_PAGES, p);
    mm->mmap_top = mm->stack_top - MAPPINGS_BELOW - some_pages(SOMEWHERE_PAGES, p);
}

u64 program_base(u64 align) { return ROUND_DOWN(PIE_BASE + some_pages(SOMEWHERE_PAGES, current->process), align); }

u64 heap_behind(u64 end, const struct process *p) { return end + some_pages(HEAP_PAGES, p); }
