/* Whole pages of host memory, in order: nothing is given back while the container lives. */
#include "host.h"

static u64 next, end;

void pages_init(u64 from, u64 to) {
    next = ROUND_UP(from, PAGE_SIZE);
    end = ROUND_DOWN(to, PAGE_SIZE);
}

u64 pages_left(void) { return (end - next) >> PAGE_SHIFT; }

void *page_take(void) {
    if (next == end)
        kill_container("out of host memory", 0);
    u64 *page = host(next);
    next += PAGE_SIZE;
    for (int i = 0; i < 512; i++)
        page[i] = 0;
    return page;
}
