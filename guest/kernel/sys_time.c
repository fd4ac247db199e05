/* Clocks and sleep.  The epoch is the boot, so all clocks tell the same. */
#include "kernel.h"
#include "process.h"
#include "syscalls.h"
#include "time.h"
#include "vm.h"

#define NS_PER_US 1000UL
#define TICKS 100               /* a second, in times() */

static struct timespec timespec_of(u64 ns) { return (struct timespec){(i64)(ns / NS_PER_S), (i64)(ns % NS_PER_S)}; }

i64 sys_clock_gettime(u32 clock, u64 to) {
    if (clock >= CLOCKS)
        return -EINVAL;
    struct timespec t = timespec_of(now_ns());
    return copy_out(to, &t, sizeof t);
}

i64 sys_clock_getres(u32 clock, u64 to) {
    struct timespec t = {0, 1};

    if (clock >= CLOCKS)
        return -EINVAL;
    return to ? copy_out(to, &t, sizeof t) : 0;
}

i64 sys_gettimeofday(u64 time, u64 zone) {
    u64 now = now_ns();
    struct timeval t = {(i64)(now / NS_PER_S), (i64)(now % NS_PER_S / NS_PER_US)};

    if (zone && clear_user(zone, 8))
        return -EFAULT;
    return time ? copy_out(time, &t, sizeof t) : 0;
}

i64 sys_time(u64 to) {
    i64 seconds = (i64)(now_ns() / NS_PER_S);

    return to && copy_out(to, &seconds, sizeof seconds) ? -EFAULT : seconds;
}

static i64 sleep(u64 time, u64 left, bool absolute) {
    struct timespec t;

    if (copy_in(&t, time, sizeof t))
        return -EFAULT;
    if (t.sec < 0 || (u64)t.nsec >= NS_PER_S)
        return -EINVAL;
    u64 until = (u64)MIN(t.sec, (i64)1 << 32) * NS_PER_S + (u64)t.nsec + (absolute ? 0 : now_ns());
    int error = sleep_until(until);
    if (error && left && !absolute) {
        u64 now = now_ns();
        t = timespec_of(until > now ? until - now : 0);
        if (copy_out(left, &t, sizeof t))
            return -EFAULT;
    }
    return error;
}

i64 sys_nanosleep(u64 time, u64 left) { return sleep(time, left, false); }
i64 sys_clock_nanosleep(u32 clock, u32 flags, u64 time, u64 left) {
    return clock >= CLOCKS ? -EINVAL : sleep(time, left, flags & TIMER_ABSTIME);
}

i64 sys_getrusage(i32 who, u64 to) {
    u64 now = now_ns();
    struct rusage r = {.user = {(i64)(now / NS_PER_S), (i64)(now % NS_PER_S / NS_PER_US)}};

    if (who < -1 || who > 1)
        return -EINVAL;
    if (who == -1)
        r.user = (struct timeval){0, 0};        /* no children */
    return copy_out(to, &r, sizeof r);
}

i64 sys_times(u64 to) {
    i64 ticks = (i64)(now_ns() / (NS_PER_S / TICKS)), t[4] = {ticks, 0, 0, 0};

    return to && copy_out(to, t, sizeof t) ? -EFAULT : ticks;
}
