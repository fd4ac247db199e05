/* Pager in the container kernel: pages are bound when they leave the buddy allocator, unbound when they come back.
 *
 *   buddy allocator                                unbound, or the unbind waits in the request
 *   ─────────────────────────────────────────────  bind, unbind: by batches
 *   the processor's list, blocks in use            bound
 */
#include "supply.h"

#include "pager.h"
#include "kernel.h"
#include "layout.h"
#include "mm/frames.h"
#include "options.h"
#include "platform/space.h"

bool supply_on;

/* One for the one processor that there is. */
static u64 *request, unbinds;

void supply_init(u64 *free_start) {
    u64 at = ROUND_UP(*free_start, PAGE_SIZE);

    if (!(option_given("policy") ? option_is("policy", "pager") : PLAT_PAGER) || plat_pager(at, 0) < 0)
        return;
    request = direct(at);
    *free_start = at + PAGE_SIZE;
    supply_on = true;
}

static u64 word(u64 page, u32 order) { return page << PAGE_SHIFT | order; }
static struct page *page_of(u64 word) { return &pages[word >> PAGE_SHIFT]; }

static u32 send(u32 binds) {
    i64 done = plat_pager(physical(request), unbinds << 32 | binds);

    while (unbinds)
        page_of(request[--unbinds])->waits = 0;
    return (u32)done;
}

static void make_room(u32 words) {
    if (unbinds + words > PAGER_WORDS)
        send(0);
}

bool supply_bind(u64 page, u32 order) {
    make_room(1);
    request[unbinds] = word(page, order);
    return send(1);
}

u32 supply_bind_pages(const u64 *pages, u32 count) {
    make_room(count);
    for (u32 i = 0; i < count; i++)
        request[unbinds + i] = word(pages[i], 0);
    return send(count);
}

void supply_unbind(u64 page, u32 order) {
    make_room(1);
    request[unbinds++] = word(page, order);
    pages[page].waits = (u16)unbinds;
}

bool supply_keep(u64 page, u32 order) {
    u32 place = pages[page].waits;

    if (!place || request[place - 1] != word(page, order))
        return false;           /* or a part of a block that waits: it goes, and comes back with the same request */
    request[place - 1] = request[--unbinds];
    page_of(request[place - 1])->waits = (u16)place;
    pages[page].waits = 0;
    return true;
}

void supply_idle(void) {
    if (unbinds)
        send(0);
}
