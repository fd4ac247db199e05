/* Counters that can be waited for: eventfd, and timerfd, which a clock counts up. */
#include "inode.h"
#include "kernel.h"
#include "process.h"
#include "slab.h"
#include "syscalls.h"
#include "time.h"
#include "vm.h"

#define EFD_SEMAPHORE 1
#define TFD_ABSTIME 1
#define LARGEST (~0UL - 1)

struct counter {
    u64 value;
    bool semaphore, clock;
    struct timer timer;
    u64 interval;
};

static struct counter *counter_of(const struct file *f) { return f->own; }

static i64 counter_read(struct file *f, u8 *to, u64 n, u64 moved) {
    struct counter *c = counter_of(f);

    if (moved)
        return 0;
    if (n < sizeof c->value)
        return -EINVAL;
    while (!c->value) {
        if (f->flags & O_NONBLOCK)
            return -EAGAIN;
        if (sleep_on(c, FOREVER))
            return -ERESTART;
    }
    u64 got = c->semaphore ? 1 : c->value;
    c->value -= got;
    memcpy(to, &got, sizeof got);
    file_changed(c);
    return sizeof got;
}

static i64 counter_write(struct file *f, const u8 *from, u64 n, u64 moved) {
    struct counter *c = counter_of(f);
    u64 more;

    if (moved)
        return 0;
    if (c->clock || n < sizeof more)
        return -EINVAL;
    memcpy(&more, from, sizeof more);
    if (more == ~0UL)
        return -EINVAL;
    while (more > LARGEST - c->value) {
        if (f->flags & O_NONBLOCK)
            return -EAGAIN;
        if (sleep_on(c, FOREVER))
            return -ERESTART;
    }
    c->value += more;
    file_changed(c);
    return sizeof more;
}

static i16 counter_poll(struct file *f) {
    struct counter *c = counter_of(f);

    return (c->value ? POLLIN : 0) | (!c->clock && c->value < LARGEST ? POLLOUT : 0);
}

static void counter_release(struct file *f) {
    timer_cancel(&counter_of(f)->timer);
    kfree(f->own);
}

static const struct file_ops counter_ops = {
    .read = counter_read, .write = counter_write, .poll = counter_poll, .release = counter_release, .stream = true,
    .whole = true,
};

static i64 open_counter(const struct counter *like, u32 flags) {
    struct inode *i = inode_new(0600);
    struct counter *c = kmalloc(sizeof *c);
    struct file *f = i && c ? file_open(i, O_RDWR | (flags & O_NONBLOCK)) : NULL;

    if (i)
        inode_put(i);
    if (!f) {
        kfree(c);
        return -ENOMEM;
    }
    *c = *like;
    f->ops = &counter_ops;
    f->own = c;
    return fd_install(f, 0, flags & O_CLOEXEC);
}

i64 sys_eventfd2(u32 value, u32 flags) {
    struct counter like = {.value = value, .semaphore = flags & EFD_SEMAPHORE};

    return flags & ~(u32)(EFD_SEMAPHORE | O_CLOEXEC | O_NONBLOCK) ? -EINVAL : open_counter(&like, flags);
}

i64 sys_eventfd(u32 value) { return sys_eventfd2(value, 0); }

i64 sys_timerfd_create(u32 clock, u32 flags) {
    struct counter like = {.clock = true};

    return clock >= CLOCKS || flags & ~(u32)(O_CLOEXEC | O_NONBLOCK) ? -EINVAL : open_counter(&like, flags);
}

static void ring(struct timer *timer) {
    struct counter *c = (struct counter *)((u8 *)timer - offsetof(struct counter, timer));

    c->value++;
    if (c->interval)
        timer_set(timer, timer->when + c->interval > now_ns() ? timer->when + c->interval : now_ns() + c->interval, ring);
    file_changed(c);
}

static i64 clock_at(i32 fd, struct counter **c) {
    struct file *f = file_at(fd);

    if (!f)
        return -EBADF;
    *c = counter_of(f);
    return f->ops == &counter_ops && (*c)->clock ? 0 : -EINVAL;
}

struct itimerspec { struct timespec interval, value; };

static struct timespec timespec_of(u64 ns) { return (struct timespec){(i64)(ns / NS_PER_S), (i64)(ns % NS_PER_S)}; }
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

    if (error)
        return error;
    if (copy_in(&t, new, sizeof t))
        return -EFAULT;
    if (!valid(t.interval) || !valid(t.value))
        return -EINVAL;
    if (old && (error = sys_timerfd_gettime(fd, old)))
        return error;
    u64 after = ns_of_timespec(t.value);
    timer_cancel(&c->timer);
    c->value = 0;
    c->interval = ns_of_timespec(t.interval);
    if (after)
        timer_set(&c->timer, after + (flags & TFD_ABSTIME ? 0 : now_ns()), ring);
    return 0;
}
