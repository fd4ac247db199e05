/* Pages and blocks, as the rest of the kernel asks for them; single ones by way of the processor's list. */
#include "page.h"

#include "buddy.h"
#include "kernel.h"
#include "task/cpu.h"

static u64 number(const void *p) { return physical(p) >> PAGE_SHIFT; }
static void *address(u64 n) { return direct(n << PAGE_SHIFT); }

void *block_alloc(u32 order) {
    u64 n = buddy_take(order);

    return n ? address(n) : NULL;
}

void block_free(void *block, u32 order) { buddy_give(number(block), order); }

/* The processor's list: filled and drained LIST_BATCH pages at a time.  This
 * is the seam where memory changes hands between the container and its host. */
static bool list_refill(struct pagelist *list) {
    for (int i = 0; i < LIST_BATCH; i++) {
        void *page = block_alloc(0);
        if (!page)
            break;
        pages[number(page)].state = PAGE_LISTED;
        list->page[list->count++] = page;
    }
    return list->count > 0;
}

static void list_drain(struct pagelist *list) {
    for (int i = 0; i < LIST_BATCH; i++) {
        void *page = list->page[--list->count];
        pages[number(page)].state = PAGE_USED;
        block_free(page, 0);
    }
}

void *page_alloc(void) {
    struct pagelist *list = &this_cpu()->pages;

    if (!list->count && !list_refill(list))
        return NULL;
    void *page = list->page[--list->count];
    struct page *p = &pages[number(page)];
    p->state = PAGE_USED;
    p->refs = 1;
    return page;
}

void *page_alloc_clear(void) {
    void *page = page_alloc();

    if (page)
        clear_page(page);
    return page;
}

void page_get(u64 physical) { pages[physical >> PAGE_SHIFT].refs++; }

void page_put(u64 physical) {
    struct page *p = &pages[physical >> PAGE_SHIFT];
    struct pagelist *list = &this_cpu()->pages;

    if (p->state != PAGE_USED || !p->refs)
        panic("page %lx put too often", physical);
    if (--p->refs)
        return;
    p->state = PAGE_LISTED;
    list->page[list->count++] = direct(physical);
    if (list->count == LIST_HIGH)
        list_drain(list);
}

u32 page_refs(u64 physical) { return pages[physical >> PAGE_SHIFT].refs; }

u64 pages_free(void) { return buddy_free() + (u64)this_cpu()->pages.count; }
