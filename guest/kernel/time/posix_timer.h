/* POSIX timers (posix_timer.c). */
#ifndef POSIX_TIMER_H
#define POSIX_TIMER_H

struct process;
struct siginfo;

void posix_timers_end(struct process *);                /* exec, or its end */
void posix_timer_delivers(struct siginfo *);            /* its signal reaches the program: how often it rang since the last one */

#endif
