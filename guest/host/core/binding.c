/* Binding: guest-physical pages to host-physical pages, when a page is first touched, or ahead of that (pager/), until the
 * container gives it back. */
#include "host.h"
#include "policy.h"

/* Flags of a binding. */
#define LENT 1UL                /* a module's page, which the pool never had */
#define LARGE 2UL               /* one of LARGE_PAGES that one entry maps */
#define PINNED 4UL              /* the host itself uses it */

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
    policy_reset();
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
    return self->ahead || policy_withholds(page) ? 0 : binding_add(gpa);
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

    if (policy_withholds(gpa >> PAGE_SHIFT))
        kill_container(policy_withheld(), gpa);
    if (!told && policy_wait(TURNS))
        return;
    kill_container(told ? "it touched a page that is not bound" : "no host memory for a page that it touched", gpa);
}

bool binding_lend(u64 gpa, u64 hpa) {
    *page_uses(hpa) = 0;
    return gpa >> PAGE_SHIFT < self->pages && bind(gpa, hpa, LENT);
}

/* A page that a page table still maps would come to the next container with that mapping in place. */
static bool is_busy(u64 page) {
    u64 bound = self->bound[page];

    return bound & (LENT | PINNED) || (*page_uses(bound) && !OFF(mapped)) || vcpu_needs(page << PAGE_SHIFT);
}

/* One of its pages goes, and the entry that maps all of them with it (vcpu_unmap). */
static void in_pieces(u64 page) {
    for (u64 i = 0; i < LARGE_PAGES; i++)
        self->bound[page + i] &= ~LARGE;
}

static void give_back(u64 page) {
    u64 hpa = self->bound[page];

    if (hpa & LARGE)
        in_pieces(ROUND_DOWN(page, LARGE_PAGES));
    vcpu_unmap(page << PAGE_SHIFT);
    self->bound[page] = 0;
    page_free(host(hpa & ~PAGE_MASK));
}

int binding_put(u64 gpa) {
    u64 page = gpa >> PAGE_SHIFT;

    if (gpa & PAGE_MASK || page >= self->pages || !self->bound[page])
        return -EINVAL;
    if (is_busy(page))
        return -EBUSY;
    give_back(page);
    return 0;
}

bool binding_pin(u64 gpa) {
    u64 page = gpa >> PAGE_SHIFT;

    if (!binding_get(gpa))
        return false;
    self->bound[page] |= PINNED;
    return true;
}

bool memory_back_large(u64 gpa) {
    u64 page = gpa >> PAGE_SHIFT;
    u8 *memory;

    for (u64 i = 0; i < LARGE_PAGES; i++)
        if (page + i >= self->pages || self->bound[page + i] || policy_withholds(page + i))
            return false;
    if (!vcpu_maps_large() || !(memory = page_alloc_large()))
        return false;
    if (!vcpu_map_large(gpa, host_physical(memory))) {
        page_free_large(memory);
        return false;
    }
    for (u64 i = 0; i < LARGE_PAGES; i++)
        self->bound[page + i] = (host_physical(memory) + i * PAGE_SIZE) | LARGE;
    self->bound_end = MAX(self->bound_end, page + LARGE_PAGES);
    return true;
}

bool memory_back(u64 gpa, u32 order) {
    u64 first = gpa >> PAGE_SHIFT, page, stop = MIN(first + (1UL << order), self->pages);
    bool ours[LARGE_PAGES];

    if (order == LARGE_ORDER && memory_back_large(gpa))
        return true;
    for (page = first; page < stop; page++) {
        ours[page - first] = !self->bound[page];
        if (!self->bound[page] && !binding_add(page << PAGE_SHIFT))
            break;
    }
    if (page >= stop)
        return true;
    while (page-- > first)
        if (ours[page - first])
            give_back(page);
    return false;
}

static void unback_large(u64 page) {
    void *memory = host(self->bound[page] & ~PAGE_MASK);

    vcpu_unmap_large(page << PAGE_SHIFT);
    memset(&self->bound[page], 0, LARGE_PAGES * sizeof *self->bound);
    page_free_large(memory);
}

int memory_unback(u64 gpa, u32 order) {
    u64 first = gpa >> PAGE_SHIFT, stop = MIN(first + (1UL << order), self->pages);

    if (first >= self->pages)
        return 0;
    for (u64 page = first; page < stop; page++)
        if (self->bound[page] && is_busy(page))
            return -EBUSY;
    if (order == LARGE_ORDER && self->bound[first] & LARGE) {
        unback_large(first);
        return 0;
    }
    for (u64 page = first; page < stop; page++)
        if (self->bound[page])
            give_back(page);
    return 0;
}

/* The mappings go with the container's tables. */
void bindings_end(void) {
    for (u64 page = 0; page < self->bound_end; page++) {
        u64 hpa = self->bound[page];
        if (!hpa || hpa & LENT)
            continue;
        if (hpa & LARGE) {
            page_free_large(host(hpa & ~PAGE_MASK));
            page += LARGE_PAGES - 1;
        } else
            page_free(host(hpa & ~PAGE_MASK));
    }
}
