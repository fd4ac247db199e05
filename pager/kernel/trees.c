/* LLFree, the upper half: in which tree of 8 children.
 *
 *   the processor's own trees    one of each kind: what is free there is counted here, what others give back there is
 *                                counted in the tree, and gathered when it runs out
 *   otherwise                    reserve the fullest tree of the kind that has enough; one with hardly a frame, an
 *                                empty one, or one of another kind only if there is nothing else
 *   four in a row come back      to one tree: it is still in the cache, and becomes the processor's own
 */
#include "kernel.h"
#include "llfree.h"

#define FEW (TREE_FRAMES / 16)  /* so few frames are soon gone */
#define ENOUGH_IN_A_ROW 4
#define NO_RANK ~0UL

u64 llfree_size(u64 end) {
    u64 trees = ROUND_UP(end, TREE_FRAMES) / TREE_FRAMES;

    return ROUND_UP(trees * (TREE_CHILDREN + 1) * sizeof(u16), 64) + trees * TREE_FRAMES / 8;
}

static void child_init(struct llfree *l, u64 child) {
    u64 start = MAX(l->first, child * CHILD_FRAMES), stop = MIN(l->end, (child + 1) * CHILD_FRAMES), n = start;

    for (; n < stop && n % 64 == 0 && n + 64 <= stop; n += 64)
        l->fields[n / 64] = 0;
    for (; n < stop; n++)
        l->fields[n / 64] &= ~(1UL << n % 64);
    l->children[child] = start < stop ? (u16)(stop - start) : 0;
    l->tree[child / TREE_CHILDREN] += l->children[child];
}

void llfree_init(struct llfree *l, void *memory, u64 first, u64 end) {
    u64 trees = ROUND_UP(end, TREE_FRAMES) / TREE_FRAMES;

    *l = (struct llfree){.first = first, .end = end, .trees = trees, .children = memory, .last_tree = NO_TREE};
    l->tree = l->children + trees * TREE_CHILDREN;
    l->fields = (u64 *)ROUND_UP((u64)(l->tree + trees), 64);
    memset(l->tree, 0, trees * sizeof *l->tree);
    memset(l->fields, 0xff, trees * TREE_FRAMES / 8);
    for (u64 child = 0; child < trees * TREE_CHILDREN; child++)
        child_init(l, child);
    for (int kind = 0; kind < KINDS; kind++)
        l->reserved[kind].tree = NO_TREE;
}

/* ---- a tree's word ---- */

static u32 free_of(u16 tree) { return tree & TREE_FREE; }
static enum kind kind_in(u16 tree) { return (tree & TREE_KIND) >> TREE_KIND_SHIFT; }

static bool tree_reserve(struct llfree *l, u64 tree, enum kind kind, u32 frames, u32 *free) {
    u16 old = LOAD(&l->tree[tree]);

    do
        if (old & TREE_RESERVED || free_of(old) < frames)
            return false;
    while (!SWAP(&l->tree[tree], &old, (u16)(TREE_RESERVED | kind << TREE_KIND_SHIFT)));
    *free = free_of(old);
    return true;
}

static void tree_add(struct llfree *l, u64 tree, u32 frames, u16 and_not) {
    u16 old = LOAD(&l->tree[tree]);

    while (!SWAP(&l->tree[tree], &old, (u16)((old & ~and_not) + frames)))
        ;
}

static void tree_release(struct llfree *l, u64 tree, u32 free) { tree_add(l, tree, free, TREE_RESERVED); }

static u32 tree_gather(struct llfree *l, u64 tree) {
    u16 old = LOAD(&l->tree[tree]);

    while (!SWAP(&l->tree[tree], &old, (u16)(old & ~TREE_FREE)))
        ;
    return free_of(old);
}

/* ---- the processor's own ---- */

static void keep(struct llfree *l, enum kind kind, u64 tree, u32 free) {
    struct reserved *r = &l->reserved[kind];

    if (r->tree != NO_TREE)
        tree_release(l, r->tree, r->free);
    *r = (struct reserved){tree, free};
}

static u64 take_reserved(struct llfree *l, struct reserved *r, u32 order, bool evicted_too) {
    if (r->tree == NO_TREE)
        return LLFREE_NONE;
    if (r->free < 1u << order)
        r->free += tree_gather(l, r->tree);
    if (r->free < 1u << order)
        return LLFREE_NONE;
    u64 frame = lower_take(l, r->tree, order, evicted_too);
    r->free -= frame ? 1u << order : 0;
    return frame;
}

/* ---- another tree ---- */

/* The lowest goes first: of its kind the fullest, of its kind with hardly a frame, one that nobody uses, another kind's. */
static u64 rank(u64 tree, u16 now, enum kind kind) {
    u64 class = free_of(now) == TREE_FRAMES ? 2 : kind_in(now) != kind ? 3 : free_of(now) < FEW ? 1 : 0;

    return class << 62 | (u64)free_of(now) << 32 | tree;
}

static u64 next_rank(const struct llfree *l, enum kind kind, u32 frames, u64 after) {
    u64 best = NO_RANK;

    for (u64 tree = 0; tree < l->trees; tree++) {
        u16 now = LOAD(&l->tree[tree]);
        u64 its = now & TREE_RESERVED || free_of(now) < frames ? NO_RANK : rank(tree, now, kind);
        if (its > after)
            best = MIN(best, its);
    }
    return best;
}

static u64 take_elsewhere(struct llfree *l, u32 order, enum kind kind, bool evicted_too) {
    u32 free;

    for (u64 at = 0; (at = next_rank(l, kind, 1u << order, at)) != NO_RANK;) {
        u64 tree = (u32)at, frame;
        enum kind before = kind_in(LOAD(&l->tree[tree]));
        if (!tree_reserve(l, tree, kind, 1u << order, &free))
            continue;
        if ((frame = lower_take(l, tree, order, evicted_too))) {
            keep(l, kind, tree, free - (1u << order));
            return frame;
        }
        tree_add(l, tree, free + (before << TREE_KIND_SHIFT), TREE_RESERVED | TREE_KIND);
    }
    return LLFREE_NONE;
}

static u64 take(struct llfree *l, u32 order, enum kind kind, bool evicted_too) {
    u64 frame = take_reserved(l, &l->reserved[kind], order, evicted_too);

    if (!frame)
        frame = take_elsewhere(l, order, kind, evicted_too);
    for (int other = 0; !frame && other < KINDS; other++)
        frame = take_reserved(l, &l->reserved[other], order, evicted_too);
    return frame;
}

/* ---- from outside ---- */

/* Whoever is the first to have of an evicted child waits for its memory. */
static bool is_installed(struct llfree *l, u64 frame, u32 order) {
    for (u64 child = frame >> CHILD_ORDER; child << CHILD_ORDER < frame + (1UL << order); child++)
        if (LOAD(&l->children[child]) & CHILD_EVICTED && !l->install(child))
            return false;
    return true;
}

u64 llfree_take(struct llfree *l, u32 order, bool movable) {
    enum kind kind = order >= CHILD_ORDER ? HUGE : movable ? MOVABLE : FIXED;
    u64 frame = order <= LLFREE_MOST_ORDER ? take(l, order, kind, true) : LLFREE_NONE;

    if (!frame || is_installed(l, frame, order))
        return frame;
    llfree_give(l, frame, order);
    return take(l, order, kind, false);       /* the host has no memory: what is free and still has some */
}

static void reserve_after_frees(struct llfree *l, u64 tree) {
    enum kind kind = kind_in(LOAD(&l->tree[tree]));
    u32 free;

    l->in_a_row = tree == l->last_tree ? l->in_a_row + 1 : 1;
    l->last_tree = tree;
    if (l->in_a_row < ENOUGH_IN_A_ROW || !tree_reserve(l, tree, kind, 1, &free))
        return;
    keep(l, kind, tree, free);
    l->in_a_row = 0;
}

bool llfree_give(struct llfree *l, u64 frame, u32 order) {
    u64 tree = frame >> TREE_ORDER;

    if (order > LLFREE_MOST_ORDER || !lower_give(l, frame, order))
        return false;
    for (struct reserved *r = l->reserved; r < l->reserved + KINDS; r++)
        if (r->tree == tree) {
            r->free += 1u << order;
            return true;
        }
    tree_add(l, tree, 1u << order, 0);
    reserve_after_frees(l, tree);
    return true;
}

u64 llfree_free(const struct llfree *l) {
    u64 free = 0;

    for (u64 tree = 0; tree < l->trees; tree++)
        free += LOAD(&l->tree[tree]) & TREE_FREE;
    for (int kind = 0; kind < KINDS; kind++)
        free += l->reserved[kind].tree == NO_TREE ? 0 : l->reserved[kind].free;
    return free;
}
