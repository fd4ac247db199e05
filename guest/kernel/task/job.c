/* Job control. */
#include "job.h"

#include "kernel.h"
#include "process.h"

#define SA_NOCLDSTOP 1UL

/* Send the parent SIGCHLD, and wake the threads that wait for a child. */
void tell_parent(struct process *p, i32 code, i32 status) {
    struct process *parent = p->parent;
    struct siginfo info = {.signal = (i32)p->exit_signal, .code = code, .pid = p->pid, .uid = p->uid.real, .status = status};

    if (!parent)
        return;
    if (code != CLD_EXITED && code != CLD_KILLED) {
        info.signal = SIGCHLD;
        if (parent->actions[SIGCHLD].flags & SA_NOCLDSTOP)
            info.signal = 0;
    }
    if (info.signal)
        signal_process(parent, &info);
    wakeup(&parent->children);
}

void sleep_while_stopped(void) {
    struct task *t = current;

    while (t->process->stopped && !t->process->ending)
        sleep_uninterruptible(&t->process->stopped);
}

void process_stop(int signal) {
    struct process *p = current->process;

    p->stopped = true;
    p->stop_told = p->continued = false;
    p->stop_signal = (u32)signal;
    tell_parent(p, CLD_STOPPED, signal);
    sleep_while_stopped();
}

void process_continue(struct process *p, bool tell) {
    if (!p->stopped)
        return;
    p->stopped = false;
    wakeup(&p->stopped);
    if (!tell)
        return;
    p->continued = true;
    tell_parent(p, CLD_CONTINUED, SIGCONT);
}

/* No member has a parent in another group of the same session. */
static bool is_orphaned(const struct process *member, const struct process *leaving) {
    for (const struct process *p = processes; p; p = p->next)
        if (p->group == member->group && p != leaving && !p->zombie && p->parent && p->parent->session == p->session &&
            p->parent->group != p->group)
            return false;
    return true;
}

bool group_is_orphaned(const struct process *member) { return is_orphaned(member, NULL); }

static bool is_stopped(i32 group) {
    for (const struct process *p = processes; p; p = p->next)
        if (p->group == group && p->stopped)
            return true;
    return false;
}

void group_loses(const struct process *member, const struct process *parent) {
    bool itself = member == parent;
    const struct process *from = itself ? member->parent : parent;
    struct siginfo hang_up = {.signal = SIGHUP, .code = SI_KERNEL}, go_on = {.signal = SIGCONT, .code = SI_KERNEL};

    if (!from || from->group == member->group || from->session != member->session ||
        !is_orphaned(member, itself ? member : NULL) || !is_stopped(member->group))
        return;
    signal_group(member->group, &hang_up);
    signal_group(member->group, &go_on);
}
