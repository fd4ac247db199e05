/* Futexes (futex.c). */
#ifndef FUTEX_H
#define FUTEX_H

struct task;

void futexes_of_thread(struct task *);          /* it ends: tell those who wait for it (futex.c) */

#endif
