/* Interval timers (itimer.c). */
#ifndef ITIMER_H
#define ITIMER_H

enum { ITIMER_REAL, ITIMER_VIRTUAL, ITIMER_PROF, ITIMERS };

struct process;

void cpu_timers_check(struct process *);        /* before it goes on in user mode: has it run for so long? */

#endif
