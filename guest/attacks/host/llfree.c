/* A container kernel that lies to HyperAlloc's host by the words that they share: what the host answers
 * (tests/guest/test_hyperalloc_host.py), requests that no host may do, and attacks. */
#include "hostile.h"
#include "hyperalloc.h"
#include "x86.h"

#define HOST_IMAGE 0xffffffffc0000000UL         /* guest/host/core/layout.h */
#define ALL 4                   /* frames */
#define SOON 10                 /* ms: whoever starts later is the other one's helper */
#define PERIOD 5000             /* ms: the host looks that often */
#define IN_A_FRAME (CHILD_FRAMES * PAGE_SIZE)

static u64 words_page(void) { return ROUND_UP(boot->free_start, PAGE_SIZE); }
static volatile u64 *word_of(u64 gpa) { return (volatile u64 *)(GK_DIRECT + gpa); }
static volatile u16 *children(void) { return (volatile u16 *)word_of(words_page()); }
static u64 trees(void) { return ROUND_UP(boot->memory, IN_A_FRAME * TREE_CHILDREN) / (IN_A_FRAME * TREE_CHILDREN); }
static u64 whole_frames(void) { return boot->memory / IN_A_FRAME; }
static u64 first_frame(void) { return words_page() / IN_A_FRAME + 1; }

static i64 share_at(u64 at, u64 count) { return hypercall(HC_MEMORY, HYPERALLOC_SHARE, at, count, 0); }
static i64 install(u64 child) { return hypercall(HC_MEMORY, HYPERALLOC_INSTALL, child, 0, 0); }

/* All frames from `from` on are free, and none is reserved. */
static i64 share(u64 from) {
    for (u64 i = 0; i < trees() * TREE_CHILDREN; i++)
        children()[i] = i >= from && i < whole_frames() ? CHILD_FRAMES : 0;
    for (u64 i = 0; i < trees(); i++)
        children()[trees() * TREE_CHILDREN + i] = TREE_FRAMES;
    return share_at(words_page(), trees());
}

void llfree_requests(void) {
    u64 f = first_frame(), gpa = f * IN_A_FRAME + 5 * PAGE_SIZE;

    tell("shared", share(f));
    tell("a frame that nobody has touched", children()[f]);
    tell("installed", install(f));
    tell("its word", children()[f]);
    tell("it holds", (i64)*word_of(gpa));
    *word_of(gpa) = 7;
    children()[f] |= CHILD_EVICTED;
    tell("once more", install(f));
    tell("its word", children()[f]);
    tell("it holds", (i64)*word_of(gpa));
    tell("the words given back", hypercall(HC_UNBIND, words_page(), 0, 0, 0));
    nap(PERIOD + 100);
    tell("after a period", children()[f]);
    tell("installed", install(f));
    tell("it holds", (i64)*word_of(gpa));
    end(0);
}

/* ---- requests that end their container ---- */

static void bad(void (*request)(void)) {
    request();
    tell("it was done", 0);
    end(0);
}

static void outside(void) { share_at(boot->memory, trees()); }
static void across(void) { share_at(boot->memory - 2, trees()); }
static void odd(void) { share_at(words_page() + 1, trees()); }
static void size(void) { share_at(words_page(), trees() + 1); }
static void huge(void) { share_at(words_page(), ~0UL); }
static void twice(void) { share(first_frame()), share(first_frame()); }
static void behind(void) { share(first_frame()), install(trees() * TREE_CHILDREN); }
static void touched(void) { share(first_frame()), *word_of(first_frame() * IN_A_FRAME) = 1; }
static void shown(void) { share(first_frame()), user_page(space_in_use(), USER, first_frame() * IN_A_FRAME, DATA); }

/* "It has memory", says its word. */
static void cleared(void) {
    share(first_frame());
    children()[first_frame()] = CHILD_FRAMES;
    *word_of(first_frame() * IN_A_FRAME) = 1;
}

/* "It is free", says its word. */
static void used(void) {
    share(first_frame());
    install(first_frame());
    *word_of(first_frame() * IN_A_FRAME) = 1;
    nap(PERIOD + 100);
    *word_of(first_frame() * IN_A_FRAME) = 1;
}

#define BAD(name) void llfree_bad_##name(void) { bad(name); }
BAD(outside) BAD(across) BAD(odd) BAD(size) BAD(huge) BAD(twice) BAD(behind) BAD(touched) BAD(shown) BAD(cleared) BAD(used)

/* ---- attacks ---- */

/* The words are the host's own memory: there the host clears a bit. */
void llfree_words(void) {
    share_at(target - HOST_IMAGE, trees());
    for (u64 i = 0; i < 8; i++)
        install(i);
    end(0);
}

/* "They are free", says the word of frames that container user has mapped; then it looks at them once somebody else has
 * them.  Whoever starts late makes room for a victim when the host has looked. */
void llfree_mapped(void) {
    u64 space, f = first_frame();

    if (rdtsc() > SOON * ((u64)hypercall(HC_HZ, 0, 0, 0, 0) / 1000)) {
        nap(PERIOD + 5);
        end(0);
    }
    share(~0UL);
    space = space_in_use();
    for (u64 i = 0; i < ALL * CHILD_FRAMES; i++)
        user_page(space, USER + i * PAGE_SIZE, f * IN_A_FRAME + i * PAGE_SIZE, DATA);
    for (u64 i = 0; i < ALL; i++)
        children()[f + i] = CHILD_FRAMES;
    nap(PERIOD);
    for (int round = 0; round < 80; round++) {
        nap(1);
        for (u64 i = 0; i < ALL * IN_A_FRAME / sizeof(u64); i += 8)
            look(((volatile u64 *)USER)[i]);
    }
}

/* What the one before has left in frames that are installed. */
void llfree_leftovers(void) {
    share(first_frame());
    for (u64 f = first_frame(); f < whole_frames() && !install(f); f++)
        for (u64 i = 0; i < IN_A_FRAME / sizeof(u64); i += 8)
            look(word_of(f * IN_A_FRAME)[i]);
}
