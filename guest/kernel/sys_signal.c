/* Signals, as far as a program asks for them. */
#include "kernel.h"
#include "process.h"
#include "syscalls.h"
#include "time.h"
#include "vm.h"

#define SET_SIZE 8
#define BIT(signal) (1UL << ((signal) - 1))
#define UNSTOPPABLE (BIT(SIGKILL) | BIT(SIGSTOP))

i64 sys_rt_sigaction(u32 signal, u64 action, u64 old, u64 size) {
    struct sigaction new;

    if (size != SET_SIZE || signal < 1 || signal > SIGNALS || (action && BIT(signal) & UNSTOPPABLE))
        return -EINVAL;
    if (action && copy_in(&new, action, sizeof new))
        return -EFAULT;
    struct sigaction *mine = &current->process->actions[signal];
    if (old && copy_out(old, mine, sizeof *mine))
        return -EFAULT;
    if (action)
        *mine = new;
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
    u64 pending = current->pending & current->blocked;

    return size > SET_SIZE ? -EINVAL : copy_out(set, &pending, size);
}

i64 sys_sigaltstack(u64 new, u64 old) {
    struct sigaltstack s, before = current->altstack;

    if (new) {
        if (copy_in(&s, new, sizeof s))
            return -EFAULT;
        if (!(s.flags & SS_DISABLE) && s.size < 2048)
            return -ENOMEM;
        current->altstack = s.flags & SS_DISABLE ? (struct sigaltstack){.flags = SS_DISABLE} : s;
    }
    return old ? copy_out(old, &before, sizeof before) : 0;
}

static i64 send(bool to_me, u32 signal) {
    if (signal > SIGNALS)
        return -EINVAL;
    if (!to_me)
        return -ESRCH;
    if (signal)
        signal_send(current, (int)signal);
    return 0;
}

i64 sys_kill(i32 pid, u32 signal) {
    const struct process *p = current->process;

    return send(pid == p->pid || pid == 0 || pid == -p->group, signal);
}

i64 sys_tkill(i32 tid, u32 signal) { return tid <= 0 ? -EINVAL : send(tid == current->tid, signal); }
i64 sys_tgkill(i32 pid, i32 tid, u32 signal) {
    return pid <= 0 || tid <= 0 ? -EINVAL : send(pid == current->process->pid && tid == current->tid, signal);
}

i64 sys_alarm(u32 seconds) {
    struct task *t = current;
    u64 now = now_ns(), left = t->alarm > now ? t->alarm - now : 0;

    t->alarm = seconds ? now + seconds * NS_PER_S : 0;
    t->alarm_interval = 0;
    plat_timer(t->alarm ? cycles_of_ns(t->alarm) : 0);
    return (i64)((left + NS_PER_S - 1) / NS_PER_S);
}
