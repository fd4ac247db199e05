/* The end of threads and processes. */
#include "fs/file.h"
#include "fs/inode.h"
#include "fs/volume.h"
#include "ipc/futex.h"
#include "ipc/sysv.h"
#include "job.h"
#include "kernel.h"
#include "mm/page.h"
#include "mm/slab.h"
#include "mm/vm.h"
#include "platform/console.h"
#include "process.h"
#include "time/posix_timer.h"
#include "time/time.h"
#include "tty/tty.h"

#define SA_NOCLDWAIT 2UL

static void end_machine(const struct process *p) {
    volumes_leave(!p->status);
    plat_exit(p->status & 127 ? 128 + (int)(p->status & 127) : (int)(p->status >> 8 & 255));
}

i32 end_code(const struct process *p) { return p->status & 127 ? CLD_KILLED : CLD_EXITED; }
i32 end_status(const struct process *p) { return (i32)(p->status & 127 ? p->status & 127 : p->status >> 8); }

static bool nobody_asks(const struct process *p) {
    const struct sigaction *action = &p->parent->actions[SIGCHLD];

    return p->exit_signal == SIGCHLD && (action->handler == SIG_IGN || action->flags & SA_NOCLDWAIT);
}

/* Children go to the nearest ancestor that takes such ones in. */
static void give_children_away(struct process *p) {
    struct process *heir = p->parent, *child;

    while (heir && !heir->subreaper && heir != init_process)
        heir = heir->parent;
    while ((child = p->children)) {
        p->children = child->sibling;
        child->parent = heir;
        group_loses(child, p);
        child->sibling = heir->children;
        heir->children = child;
        if (child->death_signal)
            signal_kernel(child, (int)child->death_signal);
        child->exit_signal = SIGCHLD;           /* whatever it was to tell the old one */
        if (!child->zombie)
            continue;
        tell_parent(child, end_code(child), end_status(child));
        if (nobody_asks(child))
            process_forget(child);
    }
}

/* What it had goes at once; that it was, and how it ended, waits for its parent. */
static void process_finish(struct process *p) {
    struct mm *mm = p->mm;

    if (p == init_process)
        end_machine(p);
    vfork_done(p);
    timer_cancel(&p->alarm);
    posix_timers_end(p);
    semaphores_end(p);
    files_put(p->files);
    p->files = NULL;
    inode_put(p->root);
    inode_put(p->directory);
    if (p->program)
        inode_put(p->program);
    p->root = p->directory = p->program = NULL;
    p->most_pages = most_pages(p);
    p->mm = NULL;
    mm_put(mm);
    signals_drop(&p->signals, ~0UL);
    give_children_away(p);
    group_loses(p, p);
    tty_process_ends(p);
    memcpy(p->last_name, current->name, sizeof p->last_name);
    p->zombie = true;
    p->stopped = false;
    tell_parent(p, end_code(p), end_status(p));
    p->unwanted = nobody_asks(p);       /* reap() lets it go */
}

static void unlink_thread(struct task *t) {
    struct task **at = &t->process->threads;

    while (*at != t)
        at = &(*at)->next_thread;
    *at = t->next_thread;
    t->process->thread_count--;
}

void thread_exit(u32 status) {
    struct task *t = current;
    struct process *p = t->process;

    if (!p->ending)
        p->status = status;             /* the last thread's, unless exit_group or a signal has set one */
    if (p->mm)
        futexes_of_thread(t);
    signals_drop(&t->signals, ~0UL);
    p->cpu_ns = cpu_time(p);
    t->since = now_ns();
    if (p->thread_count == 1)
        process_finish(p);
    unlink_thread(t);
    wakeup(&p->threads);
    t->state = DEAD;
    schedule();
    panic("thread %d runs on behind its end", t->tid);
}

void reap(struct task *t) {
    struct process *p = t->process;

    block_free(t->kstack, KSTACK_ORDER);
    kfree(t);
    if (p->zombie && p->unwanted && !p->threads)
        process_forget(p);
}

void process_end(struct process *p, u32 status) {
    if (p->ending || p->zombie)
        return;
    p->ending = true;
    p->status = status;
    process_continue(p, false);
    for (struct task *t = p->threads; t; t = t->next_thread)
        wake_task(t);
}

void process_exit(u32 status) {
    process_end(current->process, status);
    thread_exit(status);
}

void process_killed(int signal) { process_exit((u32)signal); }

/* exec: the thread that calls stays, and is the first from then on. */
void threads_end(void) {
    struct process *p = current->process;

    if (p->thread_count == 1)
        return;
    p->ending = true;
    for (struct task *t = p->threads; t; t = t->next_thread)
        if (t != current)
            wake_task(t);
    while (p->thread_count > 1)
        sleep_uninterruptible(&p->threads);
    p->ending = false;
    current->tid = p->pid;
}

static bool larger(const struct process *p, const struct process *than) {
    return p->mm && !p->ending && p != init_process && (!than || p->mm->pages > than->mm->pages);
}

/* The one that has most must go; the first process only when it is alone, for all end with it. */
void out_of_memory(void) {
    struct process *victim = NULL;

    for (struct process *p = processes; p; p = p->next)
        if (p->mm && p->ending && p != current->process) {
            yield();                    /* one is going already */
            return;
        } else if (larger(p, victim)) {
            victim = p;
        }
    if (!victim)
        victim = current->process;
    print("%s[%d]: out of memory: killed, with %lu KiB", victim->threads->name, victim->pid, victim->mm->pages * 4);
    if (victim == current->process)
        process_killed(SIGKILL);
    process_end(victim, SIGKILL);
    yield();
}
