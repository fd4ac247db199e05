/* HyperAlloc in the container kernel: LLFree hands out frames, and the host sees which 2 MiB nobody uses.
 *
 *   0 ── kernel, modules ── struct page[] ── children, trees, fields ── first ─ frames ────────────────────── end
 *                                            └─ the host's, too         └─ evicted, until one of 512 is first taken
 */
#include "shared.h"

#include "kernel.h"
#include "llfree.h"
#include "mm/frames.h"
#include "platform/space.h"

static struct llfree llfree;    /* read by symbol from outside */

static bool install(u64 child) { return !plat_memory(HYPERALLOC_INSTALL, child, 0); }

/* Without such a host there is nobody who evicts, and LLFree is an allocator like another. */
void shared_init(u64 memory, u64 free_start) {
    u64 end = memory >> PAGE_SHIFT;

    pages = direct(ROUND_UP(free_start, PAGE_SIZE));
    u64 at = ROUND_UP(physical(pages + end), PAGE_SIZE), first = ROUND_UP(at + llfree_size(end), PAGE_SIZE) >> PAGE_SHIFT;
    if (first >= end)
        panic("%lu bytes of memory are too few", memory);
    llfree_init(&llfree, direct(at), first, end);
    llfree.install = install;
    plat_memory(HYPERALLOC_SHARE, at, llfree.trees);
}

u64 shared_take(u32 order, bool user) {
    u64 n = llfree_take(&llfree, order, user);

    if (n)
        pages[n] = (struct page){.refs = 1, .order = (u8)order & 0x7f, .state = PAGE_USED};
    return n;
}

void shared_give(u64 n, u32 order) {
    if (n < llfree.first || n >= llfree.end || pages[n].state != PAGE_USED || !llfree_give(&llfree, n, order))
        panic("block %lx freed twice", n << PAGE_SHIFT);
    pages[n].state = PAGE_FREE;
    pages[n].refs = 0;
}

u64 shared_total(void) { return llfree.end - llfree.first; }
u64 shared_free(void) { return llfree_free(&llfree); }
