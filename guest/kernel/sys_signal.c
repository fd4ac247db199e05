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

/* The one timer there is: alarm() and ITIMER_REAL are two views of it. */
static u64 left_ns(u64 now) { return current->alarm > now ? current->alarm - now : 0; }

static void set_alarm(u64 now, u64 after, u64 interval) {
    current->alarm = after ? now + after : 0;
    current->alarm_interval = interval;
    plat_timer(current->alarm ? cycles_of_ns(current->alarm) : 0);
}

i64 sys_alarm(u32 seconds) {
    u64 now = now_ns(), left = left_ns(now);

    set_alarm(now, seconds * NS_PER_S, 0);
    return (i64)((left + NS_PER_S - 1) / NS_PER_S);
}

struct itimer { struct timeval interval, value; };

static struct timeval timeval_of(u64 ns) { return (struct timeval){(i64)(ns / NS_PER_S), (i64)(ns % NS_PER_S / 1000)}; }
static u64 ns_of(struct timeval t) { return (u64)t.sec * NS_PER_S + (u64)t.usec * 1000; }
static bool valid(struct timeval t) { return t.sec >= 0 && t.sec < 1L << 32 && t.usec >= 0 && t.usec < 1000000; }

i64 sys_getitimer(u32 which, u64 to) {
    struct itimer t = {timeval_of(current->alarm_interval), timeval_of(left_ns(now_ns()))};

    return which ? -EINVAL : copy_out(to, &t, sizeof t);        /* ITIMER_REAL only */
}

i64 sys_setitimer(u32 which, u64 new, u64 old) {
    struct itimer t = {{0, 0}, {0, 0}};

    if (which || (new && copy_in(&t, new, sizeof t)))
        return which ? -EINVAL : -EFAULT;
    if (!valid(t.interval) || !valid(t.value))
        return -EINVAL;
    if (old && sys_getitimer(which, old))
        return -EFAULT;
    set_alarm(now_ns(), ns_of(t.value), ns_of(t.interval));
    return 0;
}
