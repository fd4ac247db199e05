/* Memory policies: when a container's pages become host memory, and when they stop being it. */
#ifndef POLICY_H
#define POLICY_H

#include "types.h"

/* All functions work on `self`; any may be missing. */
struct policy {
    const char *name;           /* option policy= */
    bool (*begin)(void);        /* the container is loaded, and has not run: false: there is no memory */
    i64 (*request)(u64 function, u64 a, u64 b);         /* what its kernel asks for (pager/memory.h) */
    u64 period;                 /* seconds */
    void (*tick)(void);         /* each period, whether the container runs or not */
    bool (*reclaim)(void);      /* another container finds no memory: give back what can be spared; false: nothing */
};

extern const struct policy static_4k, static_2m;

void policy_init(void);         /* option policy=; by itself Pager or on touch, as the container's kernel wishes */
bool policy_allows_pager(void);
bool policy_begin(void);
i64  policy_request(u64 function, u64 a, u64 b);
bool policy_reclaim(void);      /* from the other containers */
u64  policy_deadline(void);     /* of the next tick, cycles; 0: none */
void policy_rings(u64 now);

#endif
