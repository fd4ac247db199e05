/* Option ept=2m: bind 2 MiB at a time, where nothing of them is bound yet and as many pages lie together. */
#include "options.h"
#include "runv.h"

static bool wanted(void) { return option("ept", 4) == 2; }     /* ept=2m, ept=4k */

static bool is_unbound(u64 page) {
    if (page + LARGE_PAGES > self->pages)
        return false;
    for (u64 i = 0; i < LARGE_PAGES; i++)
        if (self->bound[page + i])
            return false;
    return true;
}

bool bind_large(u64 gpa) {
    u64 page = ROUND_DOWN(gpa >> PAGE_SHIFT, LARGE_PAGES);
    u8 *memory = wanted() && is_unbound(page) ? page_alloc_large() : NULL;

    if (!memory)
        return false;
    if (!ept_map_large(page << PAGE_SHIFT, host_physical(memory))) {
        for (u64 i = 0; i < LARGE_PAGES; i++)
            page_free(memory + i * PAGE_SIZE);
        return false;
    }
    for (u64 i = 0; i < LARGE_PAGES; i++)
        self->bound[page + i] = host_physical(memory) + i * PAGE_SIZE;
    self->bound_end = MAX(self->bound_end, page + LARGE_PAGES);
    return true;
}
