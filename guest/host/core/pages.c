/* Pages of host memory: one pool, and an account for each container.
 *
 *   limit    it may hold so many
 *   reserve  so many it can always have: of the free pages, as many are promised as reserves are not used up
 *
 * What one container gives back, another one may take.  Nobody is killed here: page_alloc() has the runtime reclaim
 * what it can spare, and then says NULL.
 */
#include "host.h"
#include "policy.h"

/* Read by symbol from outside. */
struct { u64 all, free, held; } host_memory;

static u64 first, frontier, end;        /* page numbers; from `frontier` on none has been used */
static u64 *free_list;                  /* pages that came back, each with the address of the next */
static u64 *large_list;                 /* LARGE_PAGES that came back in one piece */
static u64 promised;
static u32 *uses;                       /* by page number */

/* The counts stand in front of the pages.  One is cleared when its page is first used. */
void pages_init(u64 from, u64 to) {
    uses = host(ROUND_UP(from, sizeof *uses));
    end = to >> PAGE_SHIFT;
    first = frontier = ROUND_UP(host_physical(uses + end), PAGE_SIZE) >> PAGE_SHIFT;
    if (first >= end)
        panic("%lu bytes of memory are too few", to);
    host_memory.all = host_memory.free = end - first;
}

u64 pages_unpromised(void) { return host_memory.free - MIN(promised, host_memory.free); }

void account_open(struct account *a, u64 reserve, u64 limit) {
    *a = (struct account){.reserve = reserve, .limit = limit};
    promised += reserve;
}

void account_close(struct account *a) {
    if (a->held)
        panic("container %d ended and %lu pages are missing", self->number, a->held);
    promised -= a->reserve;
    *a = (struct account){0};
}

static bool may_take(const struct account *a) {
    if (!host_memory.free || OFF(quota))
        return host_memory.free;
    return a->held < a->limit && (a->held < a->reserve || pages_unpromised());
}

bool pages_are_short(void) { return self->memory.held < self->memory.limit && !may_take(&self->memory); }

/* Single pages come from large ones only where there are no others. */
static void *take_page(void) {
    u64 *page = free_list;

    if (!page && frontier < end)
        return host(frontier++ << PAGE_SHIFT);
    if (!page) {
        page = large_list;
        large_list = (u64 *)*page;
        for (u64 i = 0; i < LARGE_PAGES; i++)
            page[i * TABLE_ENTRIES] = i + 1 < LARGE_PAGES ? (u64)&page[(i + 1) * TABLE_ENTRIES] : 0;
    }
    free_list = (u64 *)*page;
    return page;
}

void *page_alloc_uncleared(void) {
    struct account *a = &self->memory;

    if (!may_take(a) && !(vcpu_reclaim() && may_take(a)) && !(a->held < a->limit && policy_reclaim() && may_take(a)))
        return NULL;
    void *page = take_page();
    *page_uses(host_physical(page)) = 0;
    promised -= a->held++ < a->reserve;
    host_memory.held++;
    host_memory.free--;
    return page;
}

void *page_alloc(void) {
    void *page = page_alloc_uncleared();

    return page ? memset(page, 0, PAGE_SIZE) : NULL;    /* another container may have had it */
}

/* One that came back in one piece, or memory that nobody has used yet. */
static void *take_large(void) {
    u64 *block = large_list, start = ROUND_UP(frontier, LARGE_PAGES);

    if (block) {
        large_list = (u64 *)*block;
        return block;
    }
    if (start + LARGE_PAGES > end)
        return NULL;
    for (; frontier < start; frontier++) {
        u64 **skipped = host(frontier << PAGE_SHIFT);
        *skipped = free_list;
        free_list = (u64 *)skipped;
    }
    frontier += LARGE_PAGES;
    return host(start << PAGE_SHIFT);
}

void *page_alloc_large(void) {
    struct account *a = &self->memory;
    u8 *block;

    if (host_memory.free < LARGE_PAGES || a->held + LARGE_PAGES > a->limit
        || (a->held + LARGE_PAGES > a->reserve && pages_unpromised() < LARGE_PAGES) || !(block = take_large()))
        return NULL;
    for (u64 i = 0; i < LARGE_PAGES; i++) {
        *page_uses(host_physical(block) + i * PAGE_SIZE) = 0;
        promised -= a->held++ < a->reserve;
    }
    host_memory.held += LARGE_PAGES;
    host_memory.free -= LARGE_PAGES;
    return OFF(zero) ? block : memset(block, 0, LARGE_PAGES * PAGE_SIZE);
}

static void charge_back(u64 hpa) {
    struct account *a = &self->memory;

    if (*page_uses(hpa) && !OFF(mapped))
        panic("page %lx is given back and used", hpa);
    promised += --a->held < a->reserve;
    host_memory.held--;
    host_memory.free++;
}

void page_free(void *page) {
    charge_back(host_physical(page));
    *(u64 **)page = free_list;
    free_list = page;
}

void page_free_large(void *block) {
    for (u64 i = 0; i < LARGE_PAGES; i++)
        charge_back(host_physical(block) + i * PAGE_SIZE);
    *(u64 **)block = large_list;
    large_list = block;
}

/* Modules have counts, too, but a control may map what is no memory at all. */
u32 *page_uses(u64 hpa) {
    static u32 nobodys;

    return hpa >> PAGE_SHIFT < end ? &uses[hpa >> PAGE_SHIFT] : &nobodys;
}
