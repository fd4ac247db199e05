/* A container kernel whose requests somebody else makes up: `paracell fuzz --target pager` fills its script while it waits.
 * The container beside it has some pages, and sleeps. */
#include "requests.h"

#define STEPS 64
#define PAGES 64UL                      /* that a script knows, aligned as one block */
#define OTHERS 16

enum { STOP, WORD, ASK, WRITE, MAP, READ, UNMAP, GIVE };       /* paracell/fuzz/pager.py */

volatile u64 random_script[STEPS] __attribute__((aligned(4096), used));

void random_wait(void);
asm(".text\n"
    ".globl random_wait\n"
    "random_wait: cmpq $0, random_script(%rip)\n"
    "je random_wait\n"
    "ret\n");

/* A step: its kind, a page or a number of unbinds, the order of a block. */
static void step(u64 s, u64 space) {
    static u64 words;
    u64 n = s >> 4 & 63, gpa = ROUND_UP(page(0), PAGES * PAGE_SIZE) + n * PAGE_SIZE, va = USER + n * PAGE_SIZE;

    switch (s & 15) {
    case STOP: end(0); break;
    case WORD: put(words++, gpa | (s >> 12 & 15)); break;
    case ASK: ask(MIN(n, words), words - MIN(n, words)), words = 0; break;
    case WRITE: word_of(gpa)[9] = s; break;
    case MAP: user_page(space, va, gpa, DATA); break;
    case READ: (void)*(volatile u64 *)va; break;
    case UNMAP: user_page(space, va, 0, 0); break;
    case GIVE: hypercall(HC_UNBIND, gpa, 0, 0, 0); break;
    }
}

void random_requests(void) {
    u64 space = space_in_use();

    nap(50);                            /* the other one takes its part */
    ask(0, 0);
    random_wait();
    for (int i = 0; i < STEPS; i++)
        step(random_script[i], space);
    end(0);
}

void random_neighbour(void) {
    ask(0, 0);
    for (u64 i = 0; i < OTHERS; i++) {
        put(0, page(i));
        ask(0, 1);
        *word_of(page(i)) = i;
    }
    for (;;)
        nap(1000000);
}
