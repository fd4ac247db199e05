/* Things to be done at a time (timer.c). */
#ifndef TIMER_H
#define TIMER_H

#include "types.h"

struct timer {
    u64 when;                   /* ns, 0 = not set */
    void (*ring)(struct timer *);
    struct timer *next;
};

void timer_set(struct timer *, u64 when, void (*ring)(struct timer *));
void timer_cancel(struct timer *);      /* nothing, if it is not set */
void timers_ring(void);                 /* those whose time has come */
void timers_arm(u64 no_later);          /* ask for an interrupt at the first one, or at `no_later` (0: never mind) */

#endif
