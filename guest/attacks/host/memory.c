/* A container kernel that asks what its host does with memory (tests/guest/test_host_memory.py).  No attacks: each says
 * what came of its requests. */
#include "hostile.h"

#define SPAN (2UL << 20)                /* what one leaf table covers */

static u64 first_page(void) { return ROUND_UP(boot->free_start, PAGE_SIZE); }
static volatile u64 *word_of(u64 gpa) { return (volatile u64 *)(GK_DIRECT + gpa); }

static i64 unbind(u64 gpa) { return hypercall(HC_UNBIND, gpa, 0, 0, 0); }

/* What may be given back, and what may not. */
void memory_unbind(void) {
    u64 page = first_page(), space = space_in_use();

    tell("not bound", unbind(page));
    *word_of(page) = 7;
    user_page(space, USER, page, DATA);
    user_page(space, USER + PAGE_SIZE, page, DATA);
    tell("mapped twice", unbind(page));
    user_page(space, USER, 0, 0);
    tell("mapped once", unbind(page));
    user_page(space, USER + PAGE_SIZE, 0, 0);
    tell("still holds", (i64)*word_of(page));
    tell("not mapped", unbind(page));
    tell("twice", unbind(page));
    tell("a fresh page holds", (i64)*word_of(page));
    user_page(space, USER, page, DATA);
    hypercall(HC_AS_DESTROY, space, 0, 0, 0);
    tell("its space is gone", unbind(page));
    tell("the image", unbind(GK_LOAD));
    tell("a module", unbind(boot->rootfs));
    tell("not aligned", unbind(page + 8));
    tell("out of range", unbind(boot->memory));
    tell("far out of range", unbind(~PAGE_MASK));
    end(0);
}

/* Page tables until the host refuses one. */
void memory_quota(void) {
    u64 space = space_in_use(), va = 0;

    while (!user_page(space, va, boot->free_start, DATA))
        va += SPAN;
    tell("tables", (i64)(va / SPAN));
    tell("result", user_page(space, va, boot->free_start, DATA));
    tell("in a table that is there", user_page(space, PAGE_SIZE, boot->free_start, DATA));
    end(0);
}

/* As many tables as fill the quota three times over, but never two of them in use. */
void memory_reclaim(void) {
    u64 space = space_in_use(), va = 0;
    i64 result = 0;

    for (; va < 3 * boot->memory / PAGE_SIZE * SPAN && !result; va += SPAN) {
        result = user_page(space, va, boot->free_start, DATA);
        if (!result)
            *(volatile u64 *)va = va;
        user_page(space, va, 0, 0);
    }
    tell("result", result);
    tell("last", (i64)*word_of(boot->free_start));
    tell("wanted", (i64)(va - SPAN));
    end(0);
}

/* Three quarters of all that it may have. */
static u64 touch(void) {
    u64 page = first_page(), count = 0;

    for (; page < boot->memory / 4 * 3; page += PAGE_SIZE, count++)
        *word_of(page) = page;
    return count;
}

void memory_lend(void) {
    u64 count = touch(), back = 0;

    for (u64 page = first_page(); count--; page += PAGE_SIZE)
        back += !unbind(page);
    tell("given back", (i64)back);
    nap(200);
    end(0);
}

void memory_keep(void) {
    tell("kept", (i64)touch());
    nap(200);
    end(0);
}

void memory_borrow(void) {
    nap(100);
    tell("had", (i64)touch());
    end(0);
}
