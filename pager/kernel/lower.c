/* LLFree, the lower half: frames of one tree, by its children's counts and fields.
 *
 *   take   count of a child down ─► bits set           give   bits cleared ─► count up
 *
 * So a count never promises more than the field has, and 512 free means that not a bit is set.  A child that is not
 * evicted goes before one that is.
 */
#include "kernel.h"
#include "llfree.h"

#define WORD_ORDER 6            /* of a field */
#define FIELD_WORDS (CHILD_FRAMES / 64)
#define NO_BIT ~0u

static u64 mask_of(u32 order) { return order < WORD_ORDER ? (1UL << (1u << order)) - 1 : ~0UL; }

/* The lowest aligned run of free frames in a word. */
static u32 run_in(u64 used, u32 order) {
    static const u64 starts[] = {~0UL, 0x5555555555555555, 0x1111111111111111, 0x0101010101010101, 0x0001000100010001,
                                 0x0000000100000001, 1};
    u64 free = ~used;

    for (u32 i = 0; i < order; i++)
        free &= free >> (1u << i);
    free &= starts[order];
    return free ? (u32)__builtin_ctzl(free) : NO_BIT;
}

static bool word_change(u64 *word, u64 from, u64 to) { return SWAP(word, &from, to); }

/* Whole words: all of them or none. */
static bool words_change(u64 *word, u32 count, u64 from, u64 to) {
    u32 done = 0;

    while (done < count && word_change(word + done, from, to))
        done++;
    if (done == count)
        return true;
    while (done--)
        word_change(word + done, to, from);
    return false;
}

static u32 field_take(u64 *field, u32 order) {
    u32 words = order > WORD_ORDER ? 1u << (order - WORD_ORDER) : 1, bit;

    for (u32 w = 0; w < FIELD_WORDS; w += words) {
        if (words > 1) {
            if (words_change(field + w, words, 0, ~0UL))
                return w * 64;
            continue;
        }
        u64 used = LOAD(field + w);
        while ((bit = run_in(used, order)) != NO_BIT)
            if (SWAP(field + w, &used, used | mask_of(order) << bit))
                return w * 64 + bit;
    }
    return NO_BIT;
}

static bool field_give(u64 *field, u32 bit, u32 order) {
    u64 *word = field + bit / 64, used = LOAD(word), mask = mask_of(order) << bit % 64;

    if (order > WORD_ORDER)
        return words_change(word, 1u << (order - WORD_ORDER), ~0UL, 0);
    do
        if ((used & mask) != mask)
            return false;
    while (!SWAP(word, &used, used & ~mask));
    return true;
}

static bool count_down(u16 *child, u32 frames, bool evicted_too) {
    u16 old = LOAD(child);

    do
        if (old & CHILD_ALLOCATED || (old & CHILD_FREE) < frames || (old & CHILD_EVICTED && !evicted_too))
            return false;
    while (!SWAP(child, &old, (u16)(old - frames)));
    return true;
}

static bool count_up(u16 *child, u32 frames) {
    u16 old = LOAD(child);

    do
        if (old & CHILD_ALLOCATED || (old & CHILD_FREE) + frames > CHILD_FRAMES)
            return false;
    while (!SWAP(child, &old, (u16)(old + frames)));
    return true;
}

static u64 take_small(struct llfree *l, u64 child, u32 order, bool evicted_too) {
    u32 bit;

    if (!count_down(&l->children[child], 1u << order, evicted_too))
        return LLFREE_NONE;
    if ((bit = field_take(l->fields + child * FIELD_WORDS, order)) != NO_BIT)
        return (child << CHILD_ORDER) + bit;
    count_up(&l->children[child], 1u << order);         /* enough are free, but not side by side */
    return LLFREE_NONE;
}

/* A whole child: free 512 ↔ allocated. */
static bool is_whole(u16 child, bool evicted_too) {
    return (child & (CHILD_FREE | CHILD_ALLOCATED)) == CHILD_FRAMES && (evicted_too || !(child & CHILD_EVICTED));
}

static u16 turned(u16 child) { return child ^ (CHILD_FRAMES | CHILD_ALLOCATED); }

static bool is_taken(u16 child) { return (child & (CHILD_FREE | CHILD_ALLOCATED)) == CHILD_ALLOCATED; }

static bool take_whole(u16 *child, bool evicted_too) {
    u16 old = LOAD(child);

    do
        if (!is_whole(old, evicted_too))
            return false;
    while (!SWAP(child, &old, turned(old)));
    return true;
}

static bool give_whole(u16 *child) {
    u16 old = LOAD(child);

    do
        if (!is_taken(old))
            return false;
    while (!SWAP(child, &old, turned(old)));
    return true;
}

/* Two neighbours are one word. */
static u32 both_turned(u32 pair) { return turned((u16)pair) | (u32)turned((u16)(pair >> 16)) << 16; }

static bool take_pair(u32 *pair, bool evicted_too) {
    u32 old = LOAD(pair);

    do
        if (!is_whole((u16)old, evicted_too) || !is_whole((u16)(old >> 16), evicted_too))
            return false;
    while (!SWAP(pair, &old, both_turned(old)));
    return true;
}

static bool give_pair(u32 *pair) {
    u32 old = LOAD(pair);

    do
        if (!is_taken((u16)old) || !is_taken((u16)(old >> 16)))
            return false;
    while (!SWAP(pair, &old, both_turned(old)));
    return true;
}

static u64 take_in(struct llfree *l, u64 child, u32 order, bool evicted_too) {
    u16 *at = &l->children[child];
    bool taken;

    if (order < CHILD_ORDER)
        return take_small(l, child, order, evicted_too);
    if (order == CHILD_ORDER)
        taken = take_whole(at, evicted_too);
    else
        taken = child % 2 == 0 && take_pair((u32 *)at, evicted_too);
    return taken ? child << CHILD_ORDER : LLFREE_NONE;
}

u64 lower_take(struct llfree *l, u64 tree, u32 order, bool evicted_too) {
    u64 frame;

    for (int evicted = 0; evicted <= evicted_too; evicted++)
        for (u64 child = tree * TREE_CHILDREN; child < (tree + 1) * TREE_CHILDREN; child++)
            if ((frame = take_in(l, child, order, evicted)))
                return frame;
    return LLFREE_NONE;
}

bool lower_give(struct llfree *l, u64 frame, u32 order) {
    u64 child = frame >> CHILD_ORDER;

    if (frame < l->first || frame + (1UL << order) > l->end || frame & ((1UL << order) - 1))
        return false;
    if (order > CHILD_ORDER)
        return give_pair((u32 *)&l->children[child]);
    if (order == CHILD_ORDER)
        return give_whole(&l->children[child]);
    return field_give(l->fields + child * FIELD_WORDS, frame % CHILD_FRAMES, order) && count_up(&l->children[child], 1u << order);
}
