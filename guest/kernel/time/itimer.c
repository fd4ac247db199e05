/* Interval timers: by the clock (alarm is another view of it), and two by the time that the process has run. */
#include "itimer.h"

#include "kernel.h"
#include "mm/vm.h"
#include "syscall/syscalls.h"
#include "task/process.h"
#include "time.h"

static const int signal_of[ITIMERS] = {SIGALRM, SIGVTALRM, SIGPROF};

struct itimerval { struct timeval interval, value; };

static u64 ns_of(struct timeval t) { return (u64)t.sec * NS_PER_S + (u64)t.usec * 1000; }
static bool valid(struct timeval t) { return t.sec >= 0 && t.sec < 1L << 32 && t.usec >= 0 && t.usec < 1000000; }

static u64 now_of(const struct process *p, u32 which) { return which == ITIMER_REAL ? now_ns() : cpu_time(p); }

static u64 left(const struct process *p, u32 which) {
    u64 when = which == ITIMER_REAL ? p->alarm.when : p->cpu_timer[which - 1], now = now_of(p, which);

    return !when ? 0 : when > now ? when - now : 1;
}

static void ring(struct timer *timer) {
    struct process *p = (struct process *)((u8 *)timer - offsetof(struct process, alarm));

    signal_kernel(p, SIGALRM);
    if (p->interval[ITIMER_REAL])
        timer_set(timer, now_ns() + p->interval[ITIMER_REAL], ring);
}

/* Of two times of which 0 is never. */
static u64 sooner(u64 a, u64 b) { return !a ? b : !b ? a : MIN(a, b); }

/* RLIMIT_CPU: it has a warning each second from the soft limit on, and its end at the hard one. */
static u64 limit_of(const struct process *p) {
    u64 soft = p->limits[RLIMIT_CPU].soft;

    return soft >= FOREVER / NS_PER_S ? 0 : MAX(soft * NS_PER_S, 1);
}

void cpu_timers_plan(struct process *p) { p->cpu_next = sooner(limit_of(p), sooner(p->cpu_timer[0], p->cpu_timer[1])); }

static void set(struct process *p, u32 which, u64 after, u64 interval) {
    p->interval[which] = interval;
    if (which != ITIMER_REAL) {
        p->cpu_timer[which - 1] = after ? now_of(p, which) + after : 0;
        cpu_timers_plan(p);
        return;
    }
    timer_cancel(&p->alarm);
    if (after)
        timer_set(&p->alarm, now_ns() + after, ring);
}

static void check_limit(struct process *p, u64 now) {
    struct rlimit *limit = &p->limits[RLIMIT_CPU];

    if (!limit_of(p) || now < limit_of(p))
        return;
    signal_kernel(p, now / NS_PER_S >= limit->hard ? SIGKILL : SIGXCPU);
    limit->soft++;
}

void cpu_timers_check(struct process *p) {
    u64 now = cpu_time(p);

    if (now < p->cpu_next)
        return;
    for (u32 which = ITIMER_VIRTUAL; which < ITIMERS; which++) {
        u64 *when = &p->cpu_timer[which - 1];
        if (!*when || now < *when)
            continue;
        signal_kernel(p, signal_of[which]);
        *when = p->interval[which] ? now + p->interval[which] : 0;
    }
    check_limit(p, now);
    cpu_timers_plan(p);
}

u64 cpu_timers_next(const struct process *p) {
    return p->cpu_next ? now_ns() + (p->cpu_next - MIN(cpu_time(p), p->cpu_next)) : 0;
}

i64 sys_alarm(u32 seconds) {
    u64 before = left(current->process, ITIMER_REAL);

    set(current->process, ITIMER_REAL, seconds * NS_PER_S, 0);
    return (i64)((before + NS_PER_S - 1) / NS_PER_S);
}

i64 sys_getitimer(u32 which, u64 to) {
    if (which >= ITIMERS)
        return -EINVAL;
    struct itimerval t = {timeval_of(current->process->interval[which]), timeval_of(left(current->process, which))};
    return copy_out(to, &t, sizeof t);
}

i64 sys_setitimer(u32 which, u64 new, u64 old) {
    struct itimerval t = {{0, 0}, {0, 0}};

    if (which >= ITIMERS || (new && copy_in(&t, new, sizeof t)))
        return which >= ITIMERS ? -EINVAL : -EFAULT;
    if (!valid(t.interval) || !valid(t.value))
        return -EINVAL;
    if (old && sys_getitimer(which, old))
        return -EFAULT;
    set(current->process, which, ns_of(t.value), ns_of(t.interval));
    return 0;
}
