/* Interval timers (itimer.c). */
#ifndef ITIMER_H
#define ITIMER_H

#include "types.h"

enum { ITIMER_REAL, ITIMER_VIRTUAL, ITIMER_PROF, ITIMERS };

struct process;

void cpu_timers_check(struct process *);        /* before it goes on in user mode: has it run for so long? */
void cpu_timers_plan(struct process *);         /* one of them has changed, or RLIMIT_CPU */
u64 cpu_timers_next(const struct process *);    /* the time, ns, at which it will have, if it runs on; 0 = never */

#endif
