/* Clocks and sleep.  There are four: since boot, since 1970, and the times that the process and the thread have run. */
#include "kernel.h"
#include "mm/vm.h"
#include "syscall/syscalls.h"
#include "task/process.h"
#include "time.h"

#define TICK (NS_PER_S / 100)   /* what times() counts */

static u64 clock_now(u32 clock) {
    if (clock == CLOCK_THREAD_CPUTIME)
        return own_cpu_time();
    return clock == CLOCK_PROCESS_CPUTIME ? cpu_time(current->process) : is_calendar(clock) ? calendar_ns() : now_ns();
}

i64 sys_clock_gettime(u32 clock, u64 to) {
    if (clock >= CLOCKS)
        return -EINVAL;
    struct timespec t = timespec_of(clock_now(clock));
    return copy_out(to, &t, sizeof t);
}

i64 sys_clock_getres(u32 clock, u64 to) {
    struct timespec t = {0, 1};

    if (clock >= CLOCKS)
        return -EINVAL;
    return to ? copy_out(to, &t, sizeof t) : 0;
}

i64 sys_gettimeofday(u64 time, u64 zone) {
    struct timeval t = timeval_of(calendar_ns());

    if (zone && clear_user(zone, 8))
        return -EFAULT;
    return time ? copy_out(time, &t, sizeof t) : 0;
}

i64 sys_time(u64 to) {
    i64 seconds = (i64)(calendar_ns() / NS_PER_S);

    return to && copy_out(to, &seconds, sizeof seconds) ? -EFAULT : seconds;
}

u64 kept_deadline(u64 until) {
    u64 kept = current->deadline;

    current->deadline = 0;
    return kept ? kept : until;
}

i64 cut_short(u64 until) {
    current->deadline = until;
    return -ERESTARTNOHAND;
}

static int copy_time(struct timespec *t, u64 from) {
    if (copy_in(t, from, sizeof *t))
        return -EFAULT;
    return t->sec < 0 || (u64)t->nsec >= NS_PER_S ? -EINVAL : 0;
}

i64 deadline_of(u64 timespec, u64 *until) {
    struct timespec t;
    int error = timespec ? copy_time(&t, timespec) : 0;

    if (!error)
        *until = kept_deadline(timespec ? now_ns() + ns_of_timespec(t) : FOREVER);
    return error;
}

/* The time that the process has run goes no faster than the clock: when that much is over, it is looked at again. */
static int sleep_until(bool cpu, u64 until) {
    int error;

    do
        error = sleep_on(&current->timeout, cpu ? now_ns() + until - cpu_time(current->process) : until);
    while (!error || (cpu && error == -ETIMEDOUT && cpu_time(current->process) < until));
    return error;
}

static i64 sleep(u32 clock, u64 time, u64 left, bool absolute) {
    bool cpu = clock == CLOCK_PROCESS_CPUTIME;
    struct timespec t;
    int error = copy_time(&t, time);

    if (error)
        return error;
    u64 now = cpu ? cpu_time(current->process) : now_ns();
    u64 until = kept_deadline(absolute ? since_boot(clock, t) : ns_of_timespec(t) + now);
    error = until > now ? sleep_until(cpu, until) : -ETIMEDOUT;
    if (error == -ETIMEDOUT)
        return 0;
    if (left && !absolute) {
        now = cpu ? cpu_time(current->process) : now_ns();
        t = timespec_of(until > now ? until - now : 0);
        if (copy_out(left, &t, sizeof t))
            return -EFAULT;
    }
    return cut_short(until);
}

i64 sys_nanosleep(u64 time, u64 left) { return sleep(CLOCK_MONOTONIC, time, left, false); }
i64 sys_clock_nanosleep(u32 clock, u32 flags, u64 time, u64 left) {
    static const u32 not_for_sleep = 1u << CLOCK_THREAD_CPUTIME | 1u << CLOCK_MONOTONIC_RAW | 1u << CLOCK_REALTIME_COARSE |
                                     1u << CLOCK_MONOTONIC_COARSE;

    if (clock >= CLOCKS)
        return -EINVAL;
    return not_for_sleep >> clock & 1 ? -EOPNOTSUPP : sleep(clock, time, left, flags & TIMER_ABSTIME);
}

#define RUSAGE_CHILDREN -1
#define RUSAGE_THREAD 1

i64 sys_getrusage(i32 who, u64 to) {
    const struct process *p = current->process;
    u64 ns = who == RUSAGE_CHILDREN ? p->children_ns : who == RUSAGE_THREAD ? own_cpu_time() : cpu_time(p);
    struct rusage r = {.user = timeval_of(ns), .max_kib = KIB(who == RUSAGE_CHILDREN ? p->children_most : most_pages(p))};

    if (who < RUSAGE_CHILDREN || who > RUSAGE_THREAD)
        return -EINVAL;
    return copy_out(to, &r, sizeof r);
}

i64 sys_times(u64 to) {
    const struct process *p = current->process;
    i64 ticks = (i64)(now_ns() / TICK), t[4] = {(i64)(cpu_time(p) / TICK), 0, (i64)(p->children_ns / TICK), 0};

    return to && copy_out(to, t, sizeof t) ? -EFAULT : ticks;
}
