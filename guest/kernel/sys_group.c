/* Process groups, sessions and priorities. */
#include "kernel.h"
#include "process.h"
#include "syscalls.h"

#define NICE_MIN -20
#define NICE_MAX 19

static struct process *process_at(i32 pid) { return pid ? process_of(pid) : current->process; }

i64 sys_getpgid(i32 pid) {
    const struct process *p = process_at(pid);

    return p ? p->group : -ESRCH;
}

i64 sys_getpgrp(void) { return current->process->group; }

i64 sys_getsid(i32 pid) {
    const struct process *p = process_at(pid);

    return p ? p->session : -ESRCH;
}

static bool group_is_in(i32 group, i32 session) {
    for (const struct process *p = processes; p; p = p->next)
        if (p->group == group && p->session == session)
            return true;
    return false;
}

/* Oneself or a child that has not called exec, within the session. */
i64 sys_setpgid(i32 pid, i32 group) {
    struct process *me = current->process, *p = process_at(pid);

    if (group < 0 || (!group && pid < 0))
        return -EINVAL;
    if (!p || p->zombie || (p != me && p->parent != me))
        return -ESRCH;
    if (p != me && p->has_executed)
        return -EACCES;
    if (!group)
        group = p->pid;
    if (p->session != me->session || p->session == p->pid || (group != p->pid && !group_is_in(group, me->session)))
        return -EPERM;
    p->group = group;
    return 0;
}

i64 sys_setsid(void) {
    struct process *me = current->process;

    for (const struct process *p = processes; p; p = p->next)
        if (p->group == me->pid)
            return -EPERM;
    me->group = me->session = me->pid;
    return me->pid;
}

enum { PRIO_PROCESS, PRIO_PGRP, PRIO_USER };

static bool is_among(const struct process *p, u32 which, i32 who) {
    const struct process *me = current->process;

    return which == PRIO_USER ? !who : which == PRIO_PROCESS ? p->pid == (who ? who : me->pid)
                                                             : p->group == (who ? who : me->group);
}

/* The highest of those meant: 20 - nice. */
i64 sys_getpriority(u32 which, i32 who) {
    i64 best = -ESRCH;

    if (which > PRIO_USER)
        return -EINVAL;
    for (const struct process *p = processes; p; p = p->next)
        if (is_among(p, which, who))
            best = MAX(best, 20 - p->nice);
    return best;
}

/* Kept and told, but each has the same slices. */
i64 sys_setpriority(u32 which, i32 who, i32 nice) {
    i64 result = -ESRCH;

    if (which > PRIO_USER)
        return -EINVAL;
    for (struct process *p = processes; p; p = p->next)
        if (is_among(p, which, who)) {
            p->nice = nice < NICE_MIN ? NICE_MIN : nice > NICE_MAX ? NICE_MAX : nice;
            result = 0;
        }
    return result;
}
