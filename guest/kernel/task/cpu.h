/* What each processor has for itself. */
#ifndef CPU_H
#define CPU_H

#include "types.h"

#define LIST_MOST 256

/* Empty, it is filled with `batch` pages; when it holds `high`, those that came first go until `low` are left. */
struct pagelist {
    u32 count, batch, low, high;
    void *page[LIST_MOST];      /* the last in is the first out: it may still be in the cache */
};

struct cpu {
    struct task *task;          /* that runs */
    struct pagelist pages;
};

extern struct cpu boot_cpu;

static inline struct cpu *this_cpu(void) { return &boot_cpu; }

#define current (this_cpu()->task)

#endif
