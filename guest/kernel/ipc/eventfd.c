/* Counters that can be waited for: eventfd, and timerfd, which a clock counts up. */
#include "fs/inode.h"
#include "kernel.h"
#include "mm/slab.h"
#include "mm/vm.h"
#include "syscall/syscalls.h"
#include "task/process.h"
#include "time/time.h"

#define EFD_SEMAPHORE 1
#define TFD_ABSTIME 1
#define TFD_CANCEL_ON_SET 2
#define LARGEST (~0UL - 1)

struct counter {
    u64 value, changes;         /* changes: of the value */
    bool semaphore;
    bool is_clock;
    u32 clock;                  /* CLOCK_* */
    struct timer timer;
    u64 interval, due;          /* due: when the timer rings */
};

static struct counter *counter_of(const struct file *f) { return f->own; }

static i64 counter_read(struct file *f, u8 *to, u64 n, u64 moved) {
    struct counter *c = counter_of(f);

    if (moved)
        return 0;
    if (n < sizeof c->value)
        return -EINVAL;
    if (!c->value)
        return f->flags & O_NONBLOCK ? -EAGAIN : sleep_then_retry(c);
    u64 got = c->semaphore ? 1 : c->value;
    c->value -= got;
    c->changes++;
    memcpy(to, &got, sizeof got);
    file_changed(c);
    return sizeof got;
}

static i64 counter_write(struct file *f, const u8 *from, u64 n, u64 moved) {
    struct counter *c = counter_of(f);
    u64 more;

    if (moved)
        return 0;
    if (c->is_clock || n < sizeof more)
        return -EINVAL;
    memcpy(&more, from, sizeof more);
    if (more == ~0UL)
        return -EINVAL;
    if (more > LARGEST - c->value)
        return f->flags & O_NONBLOCK ? -EAGAIN : sleep_then_retry(c);
    c->value += more;
    c->changes++;
    file_changed(c);
    return sizeof more;
}

static i16 counter_poll(struct file *f) {
    struct counter *c = counter_of(f);

    return (c->value ? POLLIN : 0) | (!c->is_clock && c->value < LARGEST ? POLLOUT : 0);
}

static u64 counter_poll_generation(struct file *f) { return counter_of(f)->changes; }

static void counter_release(struct file *f) {
    timer_cancel(&counter_of(f)->timer);
    kfree(f->own);
}

static const struct file_ops counter_ops = {
    .read = counter_read, .write = counter_write, .poll = counter_poll, .poll_generation = counter_poll_generation,
    .release = counter_release, .stream = true, .whole = true,
};

static i64 open_counter(const struct counter *like, u32 flags) {
    struct counter *c = kmalloc(sizeof *c);
    struct file *f = file_nameless(&counter_ops, c, O_RDWR | (flags & O_NONBLOCK));

    if (!f)
        return -ENOMEM;
    *c = *like;
    return fd_install(f, 0, flags & O_CLOEXEC);
}

i64 sys_eventfd2(u32 value, u32 flags) {
    struct counter like = {.value = value, .semaphore = flags & EFD_SEMAPHORE};

    return flags & ~(u32)(EFD_SEMAPHORE | O_CLOEXEC | O_NONBLOCK) ? -EINVAL : open_counter(&like, flags);
}

i64 sys_eventfd(u32 value) { return sys_eventfd2(value, 0); }

i64 sys_timerfd_create(u32 clock, u32 flags) {
    static const u32 clocks = 1u << CLOCK_REALTIME | 1u << CLOCK_MONOTONIC | 1u << CLOCK_BOOTTIME | 1u << CLOCK_REALTIME_ALARM |
                              1u << CLOCK_BOOTTIME_ALARM;
    struct counter like = {.is_clock = true, .clock = clock};

    if (clock >= CLOCKS || !(clocks >> clock & 1) || flags & ~(u32)(O_CLOEXEC | O_NONBLOCK))
        return -EINVAL;
    return open_counter(&like, flags);
}

static void ring(struct timer *timer) {
    struct counter *c = (struct counter *)((u8 *)timer - offsetof(struct counter, timer));
    u64 missed = c->interval ? (now_ns() - c->due) / c->interval : 0;

    c->value += 1 + missed;
    c->changes++;
    if (c->interval)
        timer_set(timer, c->due += (1 + missed) * c->interval, ring);
    file_changed(c);
}

static i64 clock_at(i32 fd, struct counter **c) {
    struct file *f = file_at(fd);

    if (!f)
        return -EBADF;
    *c = counter_of(f);
    return f->ops == &counter_ops && (*c)->is_clock ? 0 : -EINVAL;
}

struct itimerspec { struct timespec interval, value; };

static bool valid(struct timespec t) { return t.sec >= 0 && (u64)t.nsec < NS_PER_S; }

i64 sys_timerfd_gettime(i32 fd, u64 to) {
    struct counter *c;
    i64 error = clock_at(fd, &c);
    u64 now = now_ns();

    if (error)
        return error;
    struct itimerspec t = {timespec_of(c->interval), timespec_of(c->timer.when > now ? c->timer.when - now : 0)};
    return copy_out(to, &t, sizeof t);
}

i64 sys_timerfd_settime(i32 fd, u32 flags, u64 new, u64 old) {
    struct itimerspec t;
    struct counter *c;
    i64 error = clock_at(fd, &c);

    if (copy_in(&t, new, sizeof t))
        return -EFAULT;
    if (flags & ~(u32)(TFD_ABSTIME | TFD_CANCEL_ON_SET))
        return -EINVAL;
    if (!valid(t.interval) || !valid(t.value))
        return -EINVAL;
    if (error)
        return error;
    if (old && (error = sys_timerfd_gettime(fd, old)))
        return error;
    bool set = t.value.sec || t.value.nsec;
    timer_cancel(&c->timer);
    c->value = 0;
    c->interval = ns_of_timespec(t.interval);
    c->due = flags & TFD_ABSTIME ? since_boot(c->clock, t.value) : ns_of_timespec(t.value) + now_ns();
    if (set)
        timer_set(&c->timer, c->due, ring);
    return 0;
}
