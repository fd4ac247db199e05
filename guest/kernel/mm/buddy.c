/* The buddy allocator.
 *
 * Memory joins the buddy's lists a largest block at a time, when it is first
 * needed: what a short run never asks for is never touched, not even by the
 * array of struct page.
 *
 *   0 ── kernel, modules ── struct page[] ── first ─ blocks so far ─ frontier ─ untouched ── end
 */
#include "buddy.h"

#include "frames.h"
#include "kernel.h"
#include "report.h"
#include "supply.h"

#define LARGEST (1UL << MAX_ORDER)
#define NONE 0u                 /* page 0 never joins a list */

static u64 first, frontier, end;        /* page numbers */
static u64 free_count;
static u32 free_list[MAX_ORDER + 1];

static void push(u64 n, u32 order, bool is_reported) {
    struct page *p = &pages[n];

    p->state = PAGE_FREE;
    p->order = (u8)order;
    p->is_reported = is_reported;
    p->previous = NONE;
    p->next = free_list[order];
    if (p->next != NONE)
        pages[p->next].previous = (u32)n;
    free_list[order] = (u32)n;
}

static void unlink(u64 n, u32 order) {
    struct page *p = &pages[n];

    if (p->previous != NONE)
        pages[p->previous].next = p->next;
    else
        free_list[order] = p->next;
    if (p->next != NONE)
        pages[p->next].previous = p->previous;
    p->state = PAGE_USED;
}

/* The part of the array that tells of pages below `stop`: nobody gives it back. */
static bool bind_array(u64 stop) {
    static u64 bound;           /* page number: the part before it is */
    u64 last = (physical(&pages[stop]) - 1) >> PAGE_SHIFT;

    for (bound = MAX(bound, physical(&pages[first]) >> PAGE_SHIFT); bound <= last; bound++)
        if (!supply_bind(bound, 0))
            return false;
    return true;
}

/* Take the next largest block's worth of memory into the lists, in the largest aligned pieces that fit. */
static bool grow(void) {
    u64 stop = MIN(ROUND_DOWN(frontier + LARGEST, LARGEST), end);

    if (frontier == end || (supply_on && !bind_array(stop)))
        return false;
    memset(&pages[frontier], 0, (stop - frontier) * sizeof *pages);
    free_count += stop - frontier;
    while (frontier < stop) {
        u32 order = MAX_ORDER;
        while (frontier & ((1UL << order) - 1) || frontier + (1UL << order) > stop)
            order--;
        push(frontier, order, false);
        frontier += 1UL << order;
    }
    return true;
}

void buddy_init(u64 memory, u64 free_start) {
    end = memory >> PAGE_SHIFT;
    pages = direct(ROUND_UP(free_start, PAGE_SIZE));
    first = ROUND_UP(physical(pages + end), PAGE_SIZE) >> PAGE_SHIFT;
    if (first >= end)
        panic("%lu bytes of memory are too few", memory);
    frontier = first;
}

u64 buddy_take(u32 order) {
    u32 have = order;

    while (have <= MAX_ORDER && free_list[have] == NONE)
        have++;
    if (have > MAX_ORDER)
        return order <= MAX_ORDER && grow() ? buddy_take(order) : NONE;
    u64 n = free_list[have];
    bool is_reported = pages[n].is_reported;
    unlink(n, have);
    while (have > order) {              /* give back the upper half */
        have--;
        push(n + (1UL << have), have, is_reported);
    }
    pages[n].order = (u8)order;
    pages[n].refs = 1;
    free_count -= 1UL << order;
    return n;
}

void buddy_give(u64 n, u32 order) {
    if (n < first || n >= frontier || pages[n].state != PAGE_USED)
        panic("block %lx freed twice", n << PAGE_SHIFT);
    pages[n].refs = 0;
    free_count += 1UL << order;
    while (order < MAX_ORDER) {
        u64 buddy = n ^ (1UL << order);
        if (buddy < first || buddy >= frontier || pages[buddy].state != PAGE_FREE || pages[buddy].order != order)
            break;
        unlink(buddy, order);
        n &= ~(1UL << order);
        order++;
    }
    push(n, order, false);
    if (report_on)
        report_freed();
}

/* What is told of is in no list, and so nobody's: the host may take it.  Then it goes to the front, of which `next` knows nothing. */
static void tell(const struct told *t, void (*host)(const struct told *)) {
    host(t);
    for (u32 i = 0; i < t->count; i++)
        push(t->block[i], t->order[i], true);
}

void buddy_tell(u32 least, void (*host)(const struct told *)) {
    static struct told t;

    t.count = 0;
    for (u32 order = MAX_ORDER + 1; order-- > least;)
        for (u32 n = free_list[order], next; n != NONE; n = next) {
            next = pages[n].next;
            if (pages[n].is_reported)
                continue;
            unlink(n, order);
            t.block[t.count] = n;
            t.order[t.count++] = order;
            if (t.count < TOLD_MOST)
                continue;
            tell(&t, host);
            t.count = 0;
        }
    if (t.count)
        tell(&t, host);
}

u64 buddy_total(void) { return end - first; }
u64 buddy_free(void) { return free_count + (end - frontier); }
