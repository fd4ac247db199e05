/* The system calls about signals. */
#include "kernel.h"
#include "mm/vm.h"
#include "syscall/syscalls.h"
#include "task/process.h"

#define SET_SIZE 8

i64 sys_rt_sigaction(u32 signal, u64 action, u64 old, u64 size) {
    struct sigaction new;

    if (size != SET_SIZE || signal < 1 || signal > SIGNALS || (action && SIGNAL_BIT(signal) & UNSTOPPABLE))
        return -EINVAL;
    if (action && copy_in(&new, action, sizeof new))
        return -EFAULT;
    struct sigaction *mine = &current->process->actions[signal];
    if (old && copy_out(old, mine, sizeof *mine))
        return -EFAULT;
    if (action) {
        new.mask &= ~UNSTOPPABLE;
        *mine = new;
        if (signal_ignored(current->process, (int)signal))
            signals_forget(current->process, SIGNAL_BIT(signal));
    }
    return 0;
}

i64 sys_rt_sigprocmask(u32 how, u64 set, u64 old, u64 size) {
    u64 new = 0, before = current->blocked;

    if (size != SET_SIZE)
        return -EINVAL;
    if (set && copy_in(&new, set, sizeof new))
        return -EFAULT;
    if (set && how > SIG_SETMASK)
        return -EINVAL;
    if (set)
        current->blocked = (how == SIG_BLOCK ? before | new : how == SIG_UNBLOCK ? before & ~new : new) & ~UNSTOPPABLE;
    return old ? copy_out(old, &before, sizeof before) : 0;
}

i64 sys_rt_sigpending(u64 set, u64 size) {
    u64 pending = (current->signals.set | current->process->signals.set) & current->blocked;

    return size > SET_SIZE ? -EINVAL : copy_out(set, &pending, size);
}

/* Until the call is over, this is what is blocked. */
int replace_blocked(u64 set, u64 size) {
    u64 new;

    if (size != SET_SIZE)
        return -EINVAL;
    if (copy_in(&new, set, sizeof new))
        return -EFAULT;
    current->saved_blocked = current->blocked;
    current->restore_blocked = true;
    current->blocked = new & ~UNSTOPPABLE;
    return 0;
}

i64 sys_rt_sigsuspend(u64 set, u64 size) {
    int error = replace_blocked(set, size);

    if (error)
        return error;
    while (!sleep_on(&current->signals, FOREVER))
        ;
    return -ERESTARTNOHAND;
}

i64 sys_pause(void) {
    while (!sleep_on(&current->signals, FOREVER))
        ;
    return -ERESTARTNOHAND;
}

i64 sys_rt_sigtimedwait(u64 set, u64 to, u64 timeout, u64 size) {
    struct siginfo info;
    u64 wanted, until;
    i64 error;

    if (size != SET_SIZE)
        return -EINVAL;
    if (copy_in(&wanted, set, sizeof wanted))
        return -EFAULT;
    if ((error = deadline_of(timeout, &until)))
        return error;
    wanted &= ~UNSTOPPABLE;
    while (!signal_take(wanted, &info)) {
        int why = sleep_on(&current->signals, until);
        if (why == -ETIMEDOUT)
            return -EAGAIN;
        if (why && !((current->signals.set | current->process->signals.set) & wanted))
            return -EINTR;
    }
    return to && copy_out(to, &info, sizeof info) ? -EFAULT : info.signal;
}

i64 sys_sigaltstack(u64 new, u64 old) {
    struct sigaltstack s, before = current->altstack;
    bool inside = before.size && frame_of(current)->rsp - before.sp <= before.size;

    if (inside)
        before.flags |= SS_ONSTACK;
    if (new) {
        if (copy_in(&s, new, sizeof s))
            return -EFAULT;
        if (inside)
            return -EPERM;
        if (s.flags & ~SS_DISABLE && s.flags != SS_ONSTACK)
            return -EINVAL;
        if (!(s.flags & SS_DISABLE) && s.size < 2048)
            return -ENOMEM;
        current->altstack = s.flags & SS_DISABLE ? (struct sigaltstack){.flags = SS_DISABLE}
                                                 : (struct sigaltstack){.sp = s.sp, .size = s.size};
    }
    return old ? copy_out(old, &before, sizeof before) : 0;
}

static struct siginfo from_me(u32 signal, i32 code) {
    return (struct siginfo){.signal = (i32)signal, .code = code, .pid = current->process->pid, .uid = current->process->uid.real};
}

/* To all but the first process and oneself. */
static i64 signal_all(const struct siginfo *info) {
    i64 result = -ESRCH;

    for (struct process *p = processes; p; p = p->next)
        if (p != init_process && p != current->process && may_signal(p, (u32)info->signal)) {
            result = 0;
            if (info->signal)
                signal_by_process(p, NULL, info);
        }
    return result;
}

/* A group of which some members may be signalled is one. */
static i64 signal_own_group(i32 group, const struct siginfo *info) {
    i64 result = -ESRCH;

    for (struct process *p = processes; p; p = p->next)
        if (p->group == group && may_signal(p, (u32)info->signal)) {
            result = 0;
            if (info->signal)
                signal_by_process(p, NULL, info);
        } else if (p->group == group && result) {
            result = -EPERM;
        }
    return result;
}

i64 sys_kill(i32 pid, u32 signal) {
    struct siginfo info = from_me(signal, SI_USER);

    if (signal > SIGNALS)
        return -EINVAL;
    if (pid == -1)
        return signal_all(&info);
    if (pid <= 0)
        return signal_own_group(pid ? -pid : current->process->group, &info);
    struct process *p = process_of(pid);
    if (!p)
        return -ESRCH;
    if (!may_signal(p, signal))
        return -EPERM;
    if (signal)
        signal_by_process(p, NULL, &info);
    return 0;
}

/* `pid` 0: in whichever process it is. */
static i64 send_to_thread(i32 pid, i32 tid, const struct siginfo *info) {
    struct task *t = task_of(tid);

    if ((u32)info->signal > SIGNALS)
        return -EINVAL;
    if (!t || (pid && t->process->pid != pid))
        return -ESRCH;
    if (!may_signal(t->process, (u32)info->signal))
        return -EPERM;
    if (info->signal)
        signal_by_process(t->process, t, info);
    return 0;
}

i64 sys_tkill(i32 tid, u32 signal) {
    struct siginfo info = from_me(signal, SI_TKILL);

    return tid <= 0 ? -EINVAL : send_to_thread(0, tid, &info);
}

i64 sys_tgkill(i32 pid, i32 tid, u32 signal) {
    struct siginfo info = from_me(signal, SI_TKILL);

    return pid <= 0 || tid <= 0 ? -EINVAL : send_to_thread(pid, tid, &info);
}

/* What comes with the signal is the sender's to say, but not that the kernel sent it. */
static i64 copy_info(u64 from, u32 signal, bool to_me, struct siginfo *info) {
    if (copy_in(info, from, sizeof *info))
        return -EFAULT;
    info->signal = (i32)signal;
    return (info->code >= 0 || info->code == SI_TKILL) && !to_me ? -EPERM : 0;
}

i64 sys_rt_sigqueueinfo(i32 pid, u32 signal, u64 from) {
    struct process *p = process_of(pid);
    struct siginfo info;
    i64 error = copy_info(from, signal, p == current->process, &info);

    if (error || signal > SIGNALS)
        return error ? error : -EINVAL;
    if (!p)
        return -ESRCH;
    if (!may_signal(p, signal))
        return -EPERM;
    if (signal)
        signal_by_process(p, NULL, &info);
    return 0;
}

i64 sys_rt_tgsigqueueinfo(i32 pid, i32 tid, u32 signal, u64 from) {
    struct siginfo info;
    i64 error = copy_info(from, signal, tid == current->tid, &info);

    if (pid <= 0 || tid <= 0)
        return error == -EFAULT ? error : -EINVAL;
    return error ? error : send_to_thread(pid, tid, &info);
}
