/* Processes and their threads. */
#ifndef PROCESS_H
#define PROCESS_H

#include "cpu.h"
#include "ids.h"
#include "linux.h"
#include "platform/entry.h"
#include "signal/signal.h"
#include "time/timer.h"
#include "types.h"

#define KSTACK_ORDER 2          /* 16 KiB */
#define PID_MAX 32768

struct process {
    i32 pid, group, session;
    struct ids uid, gid;
    struct groups groups;
    struct process *parent, *children, *sibling;
    struct process *next;                       /* of all there are */
    struct task *threads;
    u32 thread_count;
    struct mm *mm;                              /* NULL once it has ended */
    struct files *files;
    struct inode *root, *directory, *program;
    u32 umask;
    u32 exit_signal;                            /* what the parent gets when it ends */
    u32 status;                                 /* as wait4 tells it: code << 8, or the signal */
    bool ending, zombie;                        /* all its threads are to end; they have */
    bool stopped, stop_told, continued;         /* job control, and whether the parent has been told */
    u32 stop_signal;
    struct task *vfork_parent;                  /* waits for exec or the end */
    bool dumpable, no_new_privileges;           /* dumpable: its user may look into it */
    bool listed;                                /* /proc has its name */
    bool unkillable;                            /* only by signals that it has handlers for, and by its own faults */
    bool subreaper, has_executed, unwanted;     /* unwanted: no parent will wait for it */
    struct sigaction actions[SIGNALS + 1];
    struct signals signals;                     /* for whichever thread does not block them */
    struct rlimit limits[RLIMITS];
    struct timer alarm;
    struct posix_timer *timers;
    u64 interval[3], cpu_timer[2];              /* of the interval timers (itimer.c); 0 = none */
    u64 cpu_next;                               /* when it has run for that long, one of these rings, or its limit is there */
    char last_name[16];                         /* of its last thread */
    u64 started, cpu_ns, children_ns;
    u64 most_pages, children_most;              /* in memory at once: in address spaces that it has left, of any one child */
    u32 death_signal;                           /* when the parent ends: PR_SET_PDEATHSIG */
    u32 keys;                                   /* protection keys in use: bit n is key n */
    i32 nice;
    u32 io_priority, personality;
};

enum task_state { RUNNABLE, SLEEPING, DEAD };

/* A thread; its registers lie at the top of its kernel stack while it is in the kernel. */
struct task {
    struct process *process;
    struct task *next_thread;                   /* of the process */
    struct task *next, *previous;               /* in the queue of those that can run, or of a channel */
    i32 tid;
    enum task_state state;
    const void *channel;                        /* what it sleeps on */
    struct timer timeout;
    bool timed_out;
    u8 *kstack;
    u64 kernel_rsp;                             /* where switch_context() left it */
    struct plat_context context;
    struct fpu fpu;
    u64 since, cpu_ns;                          /* ns: when it began to run, and how long it had */
    char name[16];
    struct signals signals;
    u64 blocked, saved_blocked;                 /* signal sets: bit n-1 is signal n */
    bool restore_blocked;                       /* a call replaced the mask until its end: saved_blocked is the old one */
    struct sigaltstack altstack;
    bool interrupted;                           /* its system call, by a signal */
    bool vforking;                              /* until the child lets it go on */
    u64 call;                                   /* the system call's number, for a restart */
    u64 deadline;                               /* of a sleep that is restarted, 0 = none */
    u64 clear_tid, robust_list;
};

static inline struct trapframe *frame_of(const struct task *t) {
    return (struct trapframe *)(t->kstack + (PAGE_SIZE << KSTACK_ORDER)) - 1;
}

/* process.c: the table of all processes. */
extern struct process *processes, *init_process;
extern i32 last_id;                                     /* the last number that was given */
struct task *task_create(struct process *);             /* NULL without memory */
struct process *process_create(void);                   /* NULL without memory; one thread, nothing in it */
void process_forget(struct process *);                  /* a zombie that has been waited for */
void process_abandon(struct process *);                 /* one that never ran */
struct process *process_of(i32 pid);                    /* NULL: no such process; a zombie is one */
struct process *process_at(i32 pid);                    /* the same; 0 is the caller */
struct task *task_of(i32 tid);
u32 tasks_count(void);                                  /* threads and zombies */
u32 processes_count(void);
u32 tasks_of_user(u32 uid);                             /* of these, the ones with that real user */

extern struct utsname system_name;                      /* sys_process.c */

/* exit.c */
void process_exit(u32 status) __attribute__((noreturn));        /* the whole process: code << 8, or a signal */
void process_killed(int signal) __attribute__((noreturn));
void process_end(struct process *, u32 status);         /* ask all of another's threads to end */
i32 end_code(const struct process *), end_status(const struct process *);       /* of a zombie, as siginfo has them */
void thread_exit(u32 status) __attribute__((noreturn));
void threads_end(void);                                 /* all but the current one: exec */
void out_of_memory(void);                               /* the largest process ends, if it is not the caller it has soon */
void reap(struct task *);                               /* switch_context() has left its stack for ever */

/* trap.c */
void return_to_user(void);                              /* what is to be done first */

/* fork.c */
void vfork_done(struct process *);
extern u64 forks;                                       /* processes and threads that there ever were */

/* What is to be run: `name` is how the file was asked for, and stays a script's when its interpreter runs. */
struct command { const char *name; char **argv, **envp; u64 argc, envc; };

/* exec.c: 0, or -errno with the old program still there. */
int exec(struct inode *, const struct command *);
int exec_path(const struct command *);

/* sched.c */
extern struct queue { struct task *first, *last; } run_queue;       /* those that can run, but for the one that does */
void measure_slice(void);                               /* before going to user mode while another task can run */
void schedule(void);                                    /* let another one run; comes back when it is our turn */
void yield(void);
void sched_add(struct task *);                          /* it can run */
void sched_interrupt(void);                             /* the timer rang in user mode */
int sleep_on(const void *channel, u64 until);           /* 0: the caller checks its condition again; -ETIMEDOUT; -EINTR: a signal waits */
i64 sleep_then_retry(const void *channel);              /* -ERETRY, or -ERESTART: for file operations, see file.h */
void sleep_uninterruptible(const void *channel);        /* until wakeup(), whatever signals come */
void wakeup(const void *channel);
void wake_task(struct task *);                          /* whatever it sleeps on */
u64 cpu_time(const struct process *);                   /* ns */
u64 own_cpu_time(void);                                 /* of the current thread */
u64 most_pages(const struct process *);                 /* that it has had in memory at once */

#define FOREVER (~0UL)

#endif
