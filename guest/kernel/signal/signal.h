/* Signals that were sent and not yet delivered. */
#ifndef SIGNAL_H
#define SIGNAL_H

#include "linux.h"
#include "types.h"

struct task;
struct process;

struct sent { struct sent *next; struct siginfo info; };

struct signals {
    u64 set;                    /* bit n-1 is signal n */
    u64 inside;                 /* of the set: the first process has it from another process of the container */
    u64 arrived;                /* counts them */
    struct sent *first, *last;  /* in the order of arrival; a signal in the set without one tells SI_KERNEL */
};

#define SIGNAL_BIT(signal) (1UL << ((signal) - 1))
#define UNSTOPPABLE (SIGNAL_BIT(SIGKILL) | SIGNAL_BIT(SIGSTOP))

/* signal.c */
void signal_process(struct process *, const struct siginfo *);
void signal_task(struct task *, const struct siginfo *);
void signal_by_process(struct process *, struct task *, const struct siginfo *);        /* the current one sends it */
i64 signal_group(i32 group, const struct siginfo *);    /* 0 or -ESRCH */
void signal_kernel(struct process *, int signal);       /* SI_KERNEL */
void signals_drop(struct signals *, u64 set);
void signals_forget(struct process *, u64 set);         /* its own and its threads' */
void signal_handlers_drop(struct process *);            /* what is ignored stays so */
bool signal_waiting(void);                              /* must the current thread act before it sleeps or goes on? */
bool signal_ends(void);                                 /* … and will it be the end of its process? */
void signal_deliver(void);                              /* before a return to user mode */
void signal_fault(int signal, i32 code, u64 address);   /* an exception of the program's own */
bool signal_take(u64 set, struct siginfo *);            /* the first that waits of these, blocked or not */
bool signal_ignored(const struct process *, int signal);
const char *signal_name(int signal);

/* sigframe.c: arrange for the return to user mode to run the handler. */
void signal_call_handler(const struct siginfo *);
u64 signal_frame_size(void);                            /* at most: what a handler needs of its stack before it does anything */

#endif
