/* Job control: stopping and going on (job.c). */
#ifndef JOB_H
#define JOB_H

#include "types.h"

struct process;

void process_stop(int signal);                  /* the current one; comes back when it may go on */
void process_continue(struct process *, bool tell);     /* tell: the parent; nothing if it is not stopped */
void sleep_while_stopped(void);
bool group_is_orphaned(const struct process *); /* no parent outside of the group, in its session, could continue it */
void tell_parent(struct process *, i32 code, i32 status);

/* `parent` is not the parent of `member` any more, or is itself the member and ends: if the group is left with nobody
 * to continue it, it is told. */
void group_loses(const struct process *member, const struct process *parent);

#endif
