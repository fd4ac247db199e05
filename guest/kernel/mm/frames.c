/* Which allocator hands out blocks of pages: the buddy allocator, or LLFree, whose state the host shares (option
 * policy=hyperalloc).  Both leave alone what struct page says of a page in use. */
#include "frames.h"

#include "buddy.h"
#include "kernel.h"
#include "shared.h"

struct page *pages;

bool frames_shared;

void frames_init(u64 memory, u64 free_start) {
    frames_shared = option_is("policy", "hyperalloc");
    (frames_shared ? shared_init : buddy_init)(memory, free_start);
}

u64 frames_take(u32 order, bool user) { return frames_shared ? shared_take(order, user) : buddy_take(order); }
void frames_give(u64 n, u32 order) { (frames_shared ? shared_give : buddy_give)(n, order); }
u64 frames_free(void) { return frames_shared ? shared_free() : buddy_free(); }
u64 pages_total(void) { return frames_shared ? shared_total() : buddy_total(); }
