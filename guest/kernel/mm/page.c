/* Pages and blocks, as the rest of the kernel asks for them; single ones by way of the processor's list. */
#include "page.h"

#include "balloon.h"
#include "frames.h"
#include "kernel.h"
#include "supply.h"
#include "task/cpu.h"

#define LIST_BATCH 16
#define LIST_HIGH 64
#define RELIEFS 4               /* of 256 pages */
#define ASKED 8                 /* times */

static u64 number(const void *p) { return physical(p) >> PAGE_SHIFT; }
static void *address(u64 n) { return direct(n << PAGE_SHIFT); }

static u32 mark(const char *name, u32 otherwise, u32 least, u32 most) {
    u64 value = option(name, otherwise);

    if (value < least || value > most) {
        print("option %s=%lu: it is to be between %u and %u", name, value, least, most);
        return otherwise;
    }
    return (u32)value;
}

void pages_init(u64 memory, u64 free_start) {
    struct pagelist *list = &this_cpu()->pages;

    list->batch = mark("batch", LIST_BATCH, 1, LIST_MOST / 2);
    list->high = mark("high", MAX(LIST_HIGH, list->batch), list->batch, LIST_MOST);
    list->low = mark("low", list->high - list->batch, 0, list->high - 1);
    supply_init(&free_start);
    balloon_init(&free_start);
    frames_init(memory, free_start);
}

/* The balloon gives some back, a largest block's worth at most: what it has may lie in pieces, too. */
static u64 take_or_relieve(u32 order) {
    u64 n;

    for (int tries = 0; !(n = frames_take(order, false)) && tries < RELIEFS && balloon_relieve(); tries++)
        ;
    return n;
}

static void *take_block(u32 order) {
    u64 n = take_or_relieve(order);

    if (!n || !supply_on || supply_keep(n, order) || supply_bind(n, order))
        return n ? address(n) : NULL;
    frames_give(n, order);
    return NULL;
}

/* The kernel itself asks its host more often than for a program, of which one can be killed. */
void *block_alloc(u32 order) {
    void *block = take_block(order);

    for (int asked = 1; !block && supply_on && asked < ASKED; asked++)
        block = take_block(order);
    return block;
}

static void give_back(u64 n, u32 order) {
    if (supply_on)
        supply_unbind(n, order);
    frames_give(n, order);
}

void block_free(void *block, u32 order) { give_back(number(block), order); }

static void enlist(struct pagelist *list, u64 n, bool is_clear) {
    pages[n].state = PAGE_LISTED;
    pages[n].is_clear = is_clear;
    list->page[list->count++] = address(n);
}

/* Here memory changes hands between the container and its host. */
static bool list_refill(struct pagelist *list) {
    u64 taken[LIST_MOST / 2], n;
    u32 count = 0, bound;

    while (count + list->count < list->batch && (n = count || list->count ? frames_take(0, false) : take_or_relieve(0)))
        if (supply_on && supply_keep(n, 0))
            enlist(list, n, false);
        else
            taken[count++] = n;
    bound = supply_on && count ? supply_bind_pages(taken, count) : count;
    while (count > bound)
        frames_give(taken[--count], 0);
    while (count)               /* the first one is the next to be used */
        enlist(list, taken[--count], supply_on);
    return list->count > 0;
}

/* Those that have been there for longest. */
static void list_drain(struct pagelist *list, u32 left) {
    u32 gone = list->count - left;

    for (u32 i = 0; i < gone; i++) {
        u64 n = number(list->page[i]);
        pages[n].state = PAGE_USED;
        give_back(n, 0);
    }
    list->count = left;
    memmove(list->page, list->page + gone, left * sizeof *list->page);
}

void pages_drain(void) { list_drain(&this_cpu()->pages, 0); }

static struct page *take_shared(bool user) {
    u64 n = frames_take(0, user);

    return n ? &pages[n] : NULL;
}

static struct page *take(bool user) {
    struct pagelist *list = &this_cpu()->pages;

    if (frames_shared)
        return take_shared(user);
    if (!list->count && !list_refill(list))
        return NULL;
    struct page *p = &pages[number(list->page[--list->count])];
    p->state = PAGE_USED;
    p->refs = 1;
    return p;
}

static void *address_of(const struct page *p) { return address((u64)(p - pages)); }

static void *alloc(bool user) {
    struct page *p = take(user);

    if (!p)
        return NULL;
    p->is_clear = false;
    return address_of(p);
}

static void *alloc_clear(bool user) {
    struct page *p = take(user);

    if (!p)
        return NULL;
    if (!p->is_clear)
        clear_page(address_of(p));
    p->is_clear = false;
    return address_of(p);
}

static void *for_the_kernel(void *(*alloc)(bool user)) {
    void *page = alloc(false);

    for (int asked = 1; !page && supply_on && asked < ASKED; asked++)
        page = alloc(false);
    return page;
}

void *page_alloc(void) { return for_the_kernel(alloc); }
void *page_alloc_clear(void) { return for_the_kernel(alloc_clear); }
void *page_alloc_user(void) { return alloc(true); }
void *page_alloc_user_clear(void) { return alloc_clear(true); }

void page_get(u64 physical) { pages[physical >> PAGE_SHIFT].refs++; }

void page_put(u64 physical) {
    struct page *p = &pages[physical >> PAGE_SHIFT];
    struct pagelist *list = &this_cpu()->pages;

    if (p->state != PAGE_USED || !p->refs)
        panic("page %lx put too often", physical);
    if (--p->refs)
        return;
    if (frames_shared) {
        frames_give(physical >> PAGE_SHIFT, 0);
        return;
    }
    p->state = PAGE_LISTED;
    list->page[list->count++] = direct(physical);
    if (list->count == list->high)
        list_drain(list, list->low);
}

u32 page_refs(u64 physical) { return pages[physical >> PAGE_SHIFT].refs; }

u64 pages_free(void) { return frames_free() + (u64)this_cpu()->pages.count; }
