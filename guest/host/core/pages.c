/* Whole pages of host memory, a pool for each container that runs: what one uses up, no other misses. */
#include "host.h"

static u64 first, each;         /* bytes */
static struct pool everybodys;

void pages_init(u64 from, u64 to, int parts) {
    first = ROUND_UP(from, PAGE_SIZE);
    each = ROUND_DOWN((to - first) / (u64)parts, PAGE_SIZE);
    everybodys = (struct pool){.next = first, .end = first + each * (u64)parts};
}

struct pool pool_of(int part) {
    u64 start = first + (u64)part * each;

    return (struct pool){.next = start, .end = start + each};
}

u64 pages_left(void) { return ((self->pool.end - self->pool.next) >> PAGE_SHIFT) + self->pool.given_count; }

static u64 *next_page(struct pool *p) {
    u64 *page = p->given;

    if (page) {
        p->given = (u64 *)*page;
        p->given_count--;
        return page;
    }
    if (p->next == p->end)
        kill_container("out of host memory", 0);
    page = host(p->next);
    p->next += PAGE_SIZE;
    return page;
}

void *page_take_as_it_is(void) { return next_page(OFF(pool) ? &everybodys : &self->pool); }

/* Zeroed: somebody else may have had it. */
void *page_take(void) {
    u64 *page = page_take_as_it_is();

    for (int i = 0; i < 512; i++)
        page[i] = 0;
    return page;
}

void page_give(void *page) {
    *(u64 **)page = self->pool.given;
    self->pool.given = page;
    self->pool.given_count++;
}
