/* Process groups, sessions and priorities. */
#include "kernel.h"
#include "process.h"
#include "syscall/syscalls.h"

#define NICE_MIN -20
#define NICE_MAX 19

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

    return which == PRIO_USER ? p->uid.real == (who ? (u32)who : me->uid.real) : which == PRIO_PROCESS ? p->pid == (who ? who : me->pid)
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

static int may_be_nice(const struct process *p, i32 nice) {
    if (!may_hurry(p))
        return -EPERM;
    return nice < p->nice && !is_root() && (u64)(20 - nice) > p->limits[RLIMIT_NICE].soft ? -EACCES : 0;
}

/* Kept and told, but each has the same slices: nobody has waited for a disk here, either.
 * One that refuses does not stop the others, but it is what the caller hears. */
i64 sys_setpriority(u32 which, i32 who, i32 nice) {
    i64 result = -ESRCH;

    nice = nice < NICE_MIN ? NICE_MIN : nice > NICE_MAX ? NICE_MAX : nice;
    if (which > PRIO_USER)
        return -EINVAL;
    for (struct process *p = processes; p; p = p->next) {
        if (!is_among(p, which, who))
            continue;
        int error = may_be_nice(p, nice);
        if (!error)
            p->nice = nice;
        if (error || result == -ESRCH)
            result = error;
    }
    return result;
}

enum { IO_NONE, IO_REALTIME, IO_BEST_EFFORT, IO_IDLE };
#define IO_CLASS(priority) ((priority) >> 13)
#define IO_LEVEL(priority) ((priority) & 0x1fff)

i64 sys_ioprio_set(u32 which, i32 who, i32 priority) {
    u32 class = (u32)IO_CLASS(priority), level = (u32)IO_LEVEL(priority);
    i64 result = -ESRCH;

    if (class == IO_REALTIME && !is_root())
        return -EPERM;
    if (class > IO_IDLE || (class == IO_NONE && level) || (class != IO_IDLE && level > 7))
        return -EINVAL;
    if (!which || --which > PRIO_USER)          /* these count from 1 */
        return -EINVAL;
    for (struct process *p = processes; p; p = p->next)
        if (is_among(p, which, who)) {
            if (!may_hurry_io(p))
                return -EPERM;
            p->io_priority = (u32)priority;
            result = 0;
        }
    return result;
}

/* The best of those meant: the smallest. */
i64 sys_ioprio_get(u32 which, i32 who) {
    i64 best = -ESRCH;

    if (!which || --which > PRIO_USER)
        return -EINVAL;
    for (const struct process *p = processes; p; p = p->next)
        if (is_among(p, which, who) && (best < 0 || p->io_priority < (u64)best))
            best = p->io_priority;
    return best;
}
