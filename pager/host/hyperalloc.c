/* HyperAlloc in the host: whole frames of 2 MiB that a container's LLFree has free lose their memory, and get it back
 * when one of their pages is taken.
 *
 *                 each 5 s: free, not in a reserved tree
 *    INSTALLED  ──────────────────────────────────────────►  SOFT   evicted, free      the container may take of it …
 *        │  ◄──────────────────────────────────────────────   ▲     … and has it installed first
 *        │ somebody else finds no memory                      │
 *        └──────────────────────────────────────►  HARD  ─────┘     evicted, allocated: it may not
 *                                                    there is memory again
 *
 * What counts is the host's own note.  The container's words are where the host looks for what is worth a try, and what
 * it finds there may be a lie: memory that something still maps stays, memory that goes is lost to the liar alone.
 */
#include "hyperalloc.h"

#include "host.h"
#include "pager.h"
#include "policy.h"

#define PERIOD 5                /* seconds */
#define MOST_CHILDREN 4096UL    /* of a container: 8 GiB */
#define AT_ONCE 8               /* frames for somebody who finds no memory */

enum { INSTALLED, SOFT, HARD };

static struct shared {
    u64 children, trees;        /* guest-physical, both; their pages are pinned */
    u64 count;                  /* of children that are whole; 0: nothing is shared yet */
    u8 state[MOST_CHILDREN];
} slots[MAX_RUNNING];

/* Read by symbol from outside: how often, since the host began. */
struct { u64 soft, installed, hard, returned; } hyperalloc_counts;

static struct shared *shared(void) { return &slots[self->slot]; }

static void reset(void) { *shared() = (struct shared){0}; }

/* Pinned, so it is there. */
static u16 *word_at(u64 gpa) {
    if (OFF(words))
        return host(gpa);
    return (u16 *)((u8 *)host(binding_get(gpa)) + (gpa & PAGE_MASK));
}

static u16 *child_at(u64 child) { return word_at(shared()->children + child * sizeof(u16)); }
static u16 *tree_of(u64 child) { return word_at(shared()->trees + child / TREE_CHILDREN * sizeof(u16)); }
static u64 block_of(u64 child) { return child << (PAGE_SHIFT + CHILD_ORDER); }

/* From `from` to `to`, if that is what is there. */
static bool child_change(u64 child, u16 from, u16 to) { return SWAP(child_at(child), &from, to); }

static void child_clear(u64 child, u16 bits) {
    u16 old = LOAD(child_at(child));

    while (!SWAP(child_at(child), &old, (u16)(old & ~bits)))
        ;
}

static bool tree_take(u64 child) {
    u16 *tree = tree_of(child), old = LOAD(tree);

    do
        if (old & TREE_RESERVED || (old & TREE_FREE) < CHILD_FRAMES)
            return false;
    while (!SWAP(tree, &old, (u16)(old - CHILD_FRAMES)));
    return true;
}

static void tree_give(u64 child) {
    u16 *tree = tree_of(child), old = LOAD(tree);

    while (!SWAP(tree, &old, (u16)(old + CHILD_FRAMES)))
        ;
}

/* ---- what the container asks for ---- */

/* Free frames that nobody has touched begin without memory. */
static void share_child(u64 child) {
    u64 first = child << CHILD_ORDER, page = first;

    while (page < first + CHILD_FRAMES && !self->bound[page])
        page++;
    if (page == first + CHILD_FRAMES && child_change(child, CHILD_FRAMES, CHILD_FRAMES | CHILD_EVICTED))
        shared()->state[child] = SOFT;
}

static i64 share(u64 at, u64 trees) {
    struct shared *s = shared();
    u64 bytes = trees * (TREE_CHILDREN + 1) * sizeof(u16);

    if (s->count)
        kill_container("its allocator's words are shared already", at);
    if (!trees || trees != ROUND_UP(self->pages, TREE_FRAMES) / TREE_FRAMES || trees * TREE_CHILDREN > MOST_CHILDREN)
        kill_container("it shares words for another size of memory", trees);
    if (at & 1 || at >> PAGE_SHIFT >= self->pages || (at + bytes - 1) >> PAGE_SHIFT >= self->pages)
        kill_container("it shares words that are not its own", at);
    for (u64 page = ROUND_DOWN(at, PAGE_SIZE); page < at + bytes; page += PAGE_SIZE)
        if (!binding_pin(page))
            kill_container("no host memory for the words that it shares", page);
    s->children = at;
    s->trees = at + trees * TREE_CHILDREN * sizeof(u16);
    s->count = self->pages / CHILD_FRAMES;
    for (u64 child = 0; child < s->count; child++)
        share_child(child);
    return 0;
}

static i64 install(u64 child) {
    struct shared *s = shared();

    if (child >= s->count)
        kill_container("it installs a frame that it has not", child);
    if (s->state[child] == HARD)
        kill_container("it installs a frame that was taken from it", child);
    if (s->state[child] == SOFT) {
        s->state[child] = INSTALLED;    /* first: what is withheld is not bound */
        if (!memory_back(block_of(child), LARGE_ORDER)) {
            s->state[child] = SOFT;
            return -ENOMEM;
        }
        hyperalloc_counts.installed++;
    }
    child_clear(child, CHILD_EVICTED);
    return 0;
}

static i64 request(u64 function, u64 a, u64 b) {
    switch (function) {
    case HYPERALLOC_SHARE: return share(a, b);
    case HYPERALLOC_INSTALL: return install(a);
    default: return -ENOSYS;
    }
}

static bool withholds(u64 page) {
    const struct shared *s = shared();
    u64 child = page >> CHILD_ORDER;

    return child < s->count && s->state[child] != INSTALLED;
}

/* ---- what the host takes ---- */

/* Its memory goes; something that still uses it is no error of the container's, but it stays then. */
static bool take_memory(u64 child, u8 state) {
    if (memory_unback(block_of(child), LARGE_ORDER))
        return false;
    shared()->state[child] = state;
    return true;
}

static bool soft(u64 child) {
    if (LOAD(tree_of(child)) & TREE_RESERVED || !child_change(child, CHILD_FRAMES, CHILD_FRAMES | CHILD_EVICTED))
        return false;
    if (take_memory(child, SOFT))
        return true;
    child_clear(child, CHILD_EVICTED);
    return false;
}

/* What a container's reserve promises it stays. */
static bool hard(u64 child) {
    if (self->memory.held < self->memory.reserve + CHILD_FRAMES || !tree_take(child))
        return false;
    if (child_change(child, CHILD_FRAMES, CHILD_ALLOCATED | CHILD_EVICTED)) {
        if (take_memory(child, HARD))
            return true;
        child_change(child, CHILD_ALLOCATED | CHILD_EVICTED, CHILD_FRAMES);
    }
    tree_give(child);
    return false;
}

/* So many of what is installed, at most; one flush for all of them. */
static u64 take_frames(bool (*take)(u64 child), u64 most) {
    static u64 gone[MOST_CHILDREN];
    u64 count = 0;

    for (u64 child = 0; child < shared()->count && count < most; child++)
        if (shared()->state[child] == INSTALLED && take(child))
            gone[count++] = block_of(child) | CHILD_ORDER;
    if (count)
        vcpu_flush(gone, count);
    return count;
}

static bool reclaim(void) {
    u64 count = take_frames(hard, AT_ONCE);

    hyperalloc_counts.hard += count;
    return count;
}

/* ---- and gives back: it says so, no more ---- */

static void return_frames(void) {
    struct shared *s = shared();
    const struct account *a = &self->memory;
    u64 room = (pages_unpromised() + a->reserve - MIN(a->reserve, a->held)) / LARGE_PAGES;

    for (u64 child = 0; child < s->count && room > 1; child++)
        if (s->state[child] == HARD && child_change(child, CHILD_ALLOCATED | CHILD_EVICTED, CHILD_FRAMES | CHILD_EVICTED)) {
            s->state[child] = SOFT;
            tree_give(child);
            hyperalloc_counts.returned++;
            room--;
        }
}

static void tick(void) {
    return_frames();
    hyperalloc_counts.soft += take_frames(soft, MOST_CHILDREN);
}

const struct policy hyperalloc = {
    .name = "hyperalloc", .reset = reset, .request = request, .period = PERIOD, .tick = tick, .reclaim = reclaim,
    .withholds = withholds, .withheld = "it touched a page of a frame that was taken from it",
};
