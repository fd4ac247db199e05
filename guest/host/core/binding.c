/* Binding: guest-physical pages to host-physical pages, when a page is first touched, or ahead of that (pager/), until the
 * container gives it back. */
#include "host.h"

#define LENT 1UL                /* a module's page, which the pool never had */

static u64 *slots[MAX_RUNNING];

void bindings_init(u64 *from, u64 pages) {
    u64 at = ROUND_UP(*from, PAGE_SIZE);

    for (int i = 0; i < MAX_RUNNING; i++, at += ROUND_UP(pages * sizeof *slots[i], PAGE_SIZE))
        slots[i] = host(at);
    *from = at;
}

void bindings_begin(u64 pages) {
    self->pages = pages;
    self->bound = slots[self->slot];
    self->bound_end = 0;
    self->ahead = false;
    memset(self->bound, 0, pages * sizeof *self->bound);
}

static bool bind(u64 gpa, u64 hpa, u64 flags) {
    u64 page = gpa >> PAGE_SHIFT;

    if (!vcpu_map(gpa, hpa))
        return false;
    self->bound[page] = hpa | flags;
    self->bound_end = MAX(self->bound_end, page + 1);
    return true;
}

u64 binding_make(u64 gpa) {
    u64 page = gpa >> PAGE_SHIFT;

    if (page >= self->pages)
        return 0;
    if (self->bound[page])
        return self->bound[page] & ~PAGE_MASK;
    return self->ahead ? 0 : binding_add(gpa);
}

u64 binding_add(u64 gpa) {
    u64 page = gpa >> PAGE_SHIFT;
    void *memory;

    if (!(memory = OFF(zero) ? page_alloc_uncleared() : page_alloc()))
        return 0;
    if (!bind(page << PAGE_SHIFT, host_physical(memory), 0)) {
        page_free(memory);
        return 0;
    }
    return host_physical(memory);
}

void binding_missing(u64 gpa) {
    bool told = self->ahead && !self->bound[gpa >> PAGE_SHIFT];         /* else there is no memory for a table */

    kill_container(told ? "it touched a page that is not bound" : "no host memory for a page that it touched", gpa);
}

bool binding_lend(u64 gpa, u64 hpa) {
    *page_uses(hpa) = 0;
    return gpa >> PAGE_SHIFT < self->pages && bind(gpa, hpa, LENT);
}

/* Refuse a page that a page table still maps: the next container would get it with that mapping in place. */
int binding_put(u64 gpa) {
    u64 page = gpa >> PAGE_SHIFT, hpa;

    if (gpa & PAGE_MASK || page >= self->pages || !(hpa = self->bound[page]))
        return -EINVAL;
    if (hpa & LENT || (*page_uses(hpa) && !OFF(mapped)))
        return -EBUSY;
    vcpu_unmap(gpa);
    self->bound[page] = 0;
    page_free(host(hpa));
    return 0;
}

void bindings_end(void) {
    for (u64 page = 0; page < self->bound_end; page++)
        if (self->bound[page] && !(self->bound[page] & LENT))
            page_free(host(self->bound[page]));
}
