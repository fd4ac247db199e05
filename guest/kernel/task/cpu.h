/* What each processor has for itself. */
#ifndef CPU_H
#define CPU_H

#include "types.h"

#define LIST_BATCH 16
#define LIST_HIGH 64

struct pagelist {
    u32 count;
    void *page[LIST_HIGH];      /* the last in is the first out: it may still be in the cache */
};

struct cpu {
    struct task *task;          /* that runs */
    struct pagelist pages;
};

extern struct cpu boot_cpu;

static inline struct cpu *this_cpu(void) { return &boot_cpu; }

#define current (this_cpu()->task)

#endif
