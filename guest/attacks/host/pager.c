/* A container kernel and Pager: requests in order (tests/guest/test_pager_host.py), requests that no host may do, and
 * attacks by way of memory that is given back. */
#include "requests.h"

#define SECRETS 0x5ec2e7c0ffeeUL
#define MANY 256UL

static i64 bind(u64 word) {
    put(0, word);
    return ask(0, 1);
}

static i64 unbind(u64 word) {
    put(0, word);
    return ask(1, 0);
}

void pager_requests(void) {
    u64 block = ROUND_UP(page(16), 4 * PAGE_SIZE);

    tell("nothing", ask(0, 0));
    tell("bound", bind(page(0)));
    tell("holds", (i64)*word_of(page(0)));
    *word_of(page(0)) = 7;
    tell("unbound", unbind(page(0)));
    tell("bound again", bind(page(0)));
    tell("holds", (i64)*word_of(page(0)));
    *word_of(page(0)) = 7;
    put(0, page(0)), put(1, page(1)), put(2, page(0));
    tell("one for two", ask(1, 2));
    tell("holds", (i64)*word_of(page(0)));
    tell("a block", bind(block | 2));
    tell("its last page holds", (i64)*word_of(block + 3 * PAGE_SIZE));
    put(0, block), put(1, block + PAGE_SIZE), put(2, (block + 2 * PAGE_SIZE) | 1), put(3, block | 2);
    tell("in pieces", ask(3, 1));
    put(0, list_page()), put(1, list_page()), put(2, page(2));
    tell("the request itself", ask(1, 2));      /* it was copied before its page went */
    tell("the request holds", (i64)*word_of(list_page()));
    end(0);
}

/* As much as the host has: the last requests are done in part, then not at all; a page in return is a page. */
void pager_limit(void) {
    u64 n = 0;
    i64 done = 16;

    nap(50);                            /* the other one takes its part */
    for (ask(0, 0); done == 16 && page(n + 16) <= boot->memory; n += (u64)done) {
        for (u64 i = 0; i < 16; i++)
            put(i, page(n + i));
        done = ask(0, 16);
    }
    tell("pages", (i64)n);
    tell("none", bind(page(n)));
    put(0, page(0)), put(1, page(n)), put(2, page(0));
    tell("one in return", ask(1, 2));
    end(0);
}

/* ---- requests that end their container ---- */

static void bad(void (*request)(void)) {
    ask(0, 0);
    request();
    tell("it was done", 0);
    end(0);
}

static void twice(void) { bind(page(0)), bind(page(0)); }
static void unbound(void) { unbind(page(0)); }
static void overlap(void) { bind(page(0)), bind((page(0) & ~(4 * PAGE_SIZE - 1)) | 2); }
static void behind(void) { bind(boot->memory); }
static void across(void) { bind((ROUND_UP(boot->memory, PAGE_SIZE << 10) - (PAGE_SIZE << 10)) | 10); }
static void order(void) { bind(11); }
static void bits(void) { bind(page(0) | 1 << 4); }
static void crooked(void) { bind((page(0) | PAGE_SIZE) | 1); }
static void image(void) { unbind(GK_LOAD); }
static void module(void) { unbind(boot->rootfs); }
static void too_long(void) { ask(256, 257); }
static void no_list(void) { hypercall(HC_PAGER, page(9), 1, 0, 0); }
static void crooked_list(void) { hypercall(HC_PAGER, list_page() + 8, 1, 0, 0); }
static void hosts_list(void) { hypercall(HC_PAGER, boot->memory, 1, 0, 0); }
static void touched(void) { *word_of(page(0)) = 1; }

static void in_use(void) {
    u64 space = space_in_use();

    bind(page(0));
    user_page(space, USER, page(0), DATA);
    unbind(page(0));
}

static void shown(void) { user_page(space_in_use(), USER, page(0), DATA); }

#define BAD(name) void pager_##name(void) { bad(name); }
BAD(twice) BAD(unbound) BAD(overlap) BAD(behind) BAD(across) BAD(order) BAD(bits) BAD(crooked) BAD(image) BAD(module)
BAD(too_long) BAD(no_list) BAD(crooked_list) BAD(hosts_list) BAD(touched) BAD(in_use) BAD(shown)

/* ---- attacks ---- */

/* A page that was given back, by what the TLB knows of it. */
void pager_stale(void) {
    ask(0, 0);
    bind(page(0));
    word_of(page(0))[1] = SECRETS << 16 | 3;    /* the first word of a free page is the host's */
    unbind(page(0));
    look(word_of(page(0))[1]);
}

/* Pages that container user still maps, given back, and looked at once somebody else has them. */
void pager_mapped(void) {
    u64 space = space_in_use();

    ask(0, 0);
    for (u64 i = 0; i < MANY; i++) {
        bind(page(i));
        user_page(space, USER + i * PAGE_SIZE, page(i), DATA);
    }
    for (u64 i = 0; i < MANY; i++)
        put(i, page(i));
    ask(MANY, 0);
    for (int round = 0; round < 20; round++) {
        nap(1);
        for (u64 i = 0; i < MANY * PAGE_SIZE / sizeof(u64); i++)
            look(((volatile u64 *)USER)[i]);
    }
}

/* What the one before has left in the pages that are bound. */
void pager_leftovers(void) {
    ask(0, 0);
    for (u64 n = 0; page(n) < boot->memory && bind(page(n)) == 1; n++)
        for (u64 i = 0; i < PAGE_SIZE / sizeof(u64); i += 8)
            look(word_of(page(n))[i]);
}
