/* Whole pages of host memory: in order, until some have come back. */
#include "host.h"

static u64 next, end;
static u64 *given;              /* pages that came back, each with the address of the next */
static u64 given_count;

void pages_init(u64 from, u64 to) {
    next = ROUND_UP(from, PAGE_SIZE);
    end = ROUND_DOWN(to, PAGE_SIZE);
}

u64 pages_left(void) { return ((end - next) >> PAGE_SHIFT) + given_count; }

void *page_take(void) {
    u64 *page = given;

    if (page) {
        given = (u64 *)*page;
        given_count--;
    } else if (next == end) {
        kill_container("out of host memory", 0);
    } else {
        page = host(next);
        next += PAGE_SIZE;
    }
    for (int i = 0; i < 512; i++)
        page[i] = 0;
    return page;
}

void page_give(void *page) {
    *(u64 **)page = given;
    given = page;
    given_count++;
}
