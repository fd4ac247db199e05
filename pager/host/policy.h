/* Memory policies: when a container's pages become host memory, and when they stop being it. */
#ifndef POLICY_H
#define POLICY_H

#include "types.h"

/* All functions work on `self`; any may be missing. */
struct policy {
    const char *name;           /* option policy= */
    void (*reserve)(u64 *from, u64 pages);      /* memory for what it keeps of each page of all that there is: moves *from behind it */
    void (*reset)(void);        /* a container is about to be loaded: what the one before it in its slot had is over */
    bool (*begin)(void);        /* it is loaded, and has not run; false: there is no memory */
    i64 (*request)(u64 function, u64 a, u64 b);         /* what its kernel asks for (pager/memory.h) */
    u64 period;                 /* seconds */
    void (*tick)(void);         /* each period, whether the container runs or not */
    bool (*reclaim)(void);      /* another container finds no memory: give back what can be spared; false: nothing */
    bool (*withholds)(u64 page);        /* may the page not be bound when it is touched? */
    const char *withheld;       /* … and what its container is told then */
    void (*wish)(void);         /* it finds no memory: others are to give some, in their turn */
};

extern const struct policy static_4k, static_2m, balloon_4k, balloon_2m, report_4k, report_2m, hyperalloc;

void policy_choose(u64 *from, u64 pages);       /* option policy=; by itself Pager or on touch, as the container's kernel wishes */
void policy_init(void);         /* its timer */
bool policy_allows_pager(void);
void policy_reset(void);
bool policy_begin(void);
i64  policy_request(u64 function, u64 a, u64 b);
bool policy_reclaim(void);      /* from the other containers */
bool policy_withholds(u64 page);
const char *policy_withheld(void);
#define TURNS 64                /* of others, until whoever waits for a page gives up */
bool policy_wait(int turns);    /* `self` finds no memory, and holds nothing of the host's: others have turns; true: try again */
u64  policy_deadline(void);     /* of the next tick, cycles; 0: none */
void policy_rings(u64 now);

#endif
