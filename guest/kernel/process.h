/* Processes and their threads. */
#ifndef PROCESS_H
#define PROCESS_H

#include "cpu.h"
#include "linux.h"
#include "platform.h"
#include "types.h"

#define KSTACK_ORDER 2          /* 16 KiB */

struct process {
    i32 pid, parent, group, session;
    struct mm *mm;
    struct files *files;
    struct inode *directory;
    u32 umask;
    char name[16];
    struct sigaction actions[SIGNALS + 1];
    struct rlimit limits[RLIMITS];
    u64 started;                /* ns */
};

/* A thread; its registers lie at the top of its kernel stack while it is in the kernel. */
struct task {
    struct process *process;
    i32 tid;
    u8 *kstack;
    u64 blocked, pending;       /* signal sets: bit n-1 is signal n */
    struct sigaltstack altstack;
    u64 fault_address;          /* of the exception that a handler is told about */
    u64 clear_tid, robust_list;
    u64 alarm;                  /* ns, 0 = none */
    u64 alarm_interval;
};

static inline struct trapframe *frame_of(const struct task *t) {
    return (struct trapframe *)(t->kstack + (PAGE_SIZE << KSTACK_ORDER)) - 1;
}

/* process.c */
struct task *process_create(void);                      /* panics without memory: only the first one is made so */
void process_exit(int status) __attribute__((noreturn));        /* 0..255, or 128 + signal */
void process_killed(int signal) __attribute__((noreturn));

/* exec.c: 0, or -errno with the old program still there. */
int exec(const char *path, char **argv, u64 argc, char **envp, u64 envc);

/* signal.c */
void signal_send(struct task *, int signal);
void signal_deliver(void);                              /* before a return to user mode */
bool signal_waiting(void);
void signal_fault(int signal, u64 address);             /* an exception of the program's own */
const char *signal_name(int signal);

/* sigframe.c */
void signal_call_handler(int signal);                   /* arrange for the return to user mode to run it */

#endif
