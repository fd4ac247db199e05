/* One list of timers in the order of their times; the machine's only timer rings for the first. */
#include "timer.h"

#include "platform/time.h"
#include "time.h"

static struct timer *first;
static u64 armed;               /* what the machine was told, ns; 0 = nothing */

void timer_set(struct timer *t, u64 when, void (*ring)(struct timer *)) {
    struct timer **at = &first;

    timer_cancel(t);
    t->when = when ? when : 1;
    t->ring = ring;
    while (*at && (*at)->when <= t->when)
        at = &(*at)->next;
    t->next = *at;
    *at = t;
    timers_arm(0);
}

void timer_cancel(struct timer *t) {
    struct timer **at = &first;

    if (!t->when)
        return;
    while (*at != t)
        at = &(*at)->next;
    *at = t->next;
    t->when = 0;
}

void timers_ring(void) {
    u64 now = now_ns();

    armed = 0;
    while (first && first->when <= now) {
        struct timer *t = first;
        first = t->next;
        t->when = 0;
        t->ring(t);
    }
    timers_arm(0);
}

/* To ring too early costs less than to be told otherwise each time: it is looked at then what there is to do. */
void timers_arm(u64 no_later) {
    u64 when = first ? first->when : 0;

    if (no_later && (!when || no_later < when))
        when = no_later;
    if (!when || (armed && armed <= when))
        return;
    armed = when;
    plat_timer(cycles_of_ns(when));
}
