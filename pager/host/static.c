/* Static memory: every page is bound before the container runs, and stays. */
#include "policy.h"

#include "host.h"

static bool bind_all(u32 order) {
    for (u64 page = 0; page < self->pages; page += 1UL << order)
        if (!memory_back(page << PAGE_SHIFT, order))
            return false;
    return true;
}

static bool begin_4k(void) { return bind_all(0); }
static bool begin_2m(void) { return bind_all(LARGE_ORDER); }

const struct policy static_4k = {.name = "static", .begin = begin_4k}, static_2m = {.name = "static-2m", .begin = begin_2m};
