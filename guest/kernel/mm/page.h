/* Physical pages: a buddy allocator, and above it each processor's list of single pages. */
#ifndef PAGE_H
#define PAGE_H

#include "types.h"

#define MAX_ORDER 10            /* blocks of 1 .. 1024 pages */

/* One for each physical page. */
struct page {
    u32 refs;                   /* mappings and page-cache slots that hold it; 0 = free */
    u8 order : 7;               /* of the block that starts here */
    bool is_clear : 1;          /* of a page in a processor's list: it is as the host gave it */
    u8 state;
    u16 waits : 15;             /* its unbind is in the request (supply.c): which one, from 1 on */
    bool is_reported : 1;       /* of a free block: the host knows that nobody uses it (pager/kernel/report.c) */
    u32 next, previous;         /* page numbers, in the buddy's lists */
};

enum { PAGE_RESERVED, PAGE_FREE, PAGE_LISTED, PAGE_USED };

void pages_init(u64 memory, u64 free_start);    /* options batch=, low=, high=: of the lists; policy= */

/* Blocks of 2^order pages: the direct-map address, or NULL.  Not cleared. */
void *block_alloc(u32 order);
void block_free(void *block, u32 order);

/* Single pages, by way of the processor's list.  One reference each. */
void *page_alloc(void);
void *page_alloc_clear(void);
void *page_alloc_user(void);    /* the same, for a program or a file: it may come back sooner than the kernel's own */
void *page_alloc_user_clear(void);
void page_get(u64 physical);
void page_put(u64 physical);    /* the last reference frees it */
u32 page_refs(u64 physical);
void pages_drain(void);         /* the processor's list is empty: what it had may be a part of something larger */

u64 pages_total(void), pages_free(void);

#endif
