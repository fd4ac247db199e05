/* poll and select.  A change of any file wakes every thread that waits in here; each then polls its files again. */
#include "fs/file.h"
#include "kernel.h"
#include "mm/slab.h"
#include "mm/vm.h"
#include "poll.h"
#include "syscall/syscalls.h"
#include "task/process.h"
#include "time/time.h"

#define MAX_POLL 1024

#define ALWAYS (POLLIN | POLLOUT | POLLRDNORM | POLLWRNORM)

i16 file_ready(struct file *f) { return f->ops->poll ? f->ops->poll(f) : ALWAYS; }

u64 after_ms(i32 timeout_ms) {
    return kept_deadline(timeout_ms < 0 ? FOREVER : now_ns() + (u64)timeout_ms * 1000000);
}

/* Ask each once; how many have something to tell. */
static i64 ask(struct pollfd *fds, u64 count) {
    i64 found = 0;

    for (u64 i = 0; i < count; i++) {
        struct file *f = file_at(fds[i].fd);
        fds[i].revents = 0;
        if (fds[i].fd >= 0)
            fds[i].revents = f ? file_ready(f) & (fds[i].events | POLLERR | POLLHUP) : POLLNVAL;
        found += fds[i].revents != 0;
    }
    return found;
}

/* Until one is ready or the time has come. */
static i64 wait_for(struct pollfd *fds, u64 count, u64 until) {
    for (;;) {
        i64 found = ask(fds, count);
        if (found)
            return found;
        int error = sleep_on(&pollers, until);
        if (error)
            return error == -ETIMEDOUT ? 0 : cut_short(until);
    }
}

/* The program learns how much of its timeout is left: seconds, and units of `unit` ns. */
static i64 left_of(u64 timeout, u64 until, u64 unit, i64 result) {
    u64 now = now_ns(), ns = until > now ? until - now : 0;
    i64 left[2] = {(i64)(ns / NS_PER_S), (i64)(ns % NS_PER_S / unit)};

    if (timeout)
        copy_out(timeout, left, sizeof left);   /* what cannot be written is the program's own fault */
    return result;
}

static i64 poll(u64 user, u32 count, u64 until) {
    struct pollfd *fds;
    i64 found;

    if (count > MAX_POLL)
        return -EINVAL;
    if (!(fds = kmalloc(count * sizeof *fds + 1)))
        return -ENOMEM;
    found = copy_in(fds, user, count * sizeof *fds);
    if (!found)
        found = wait_for(fds, count, until);
    if (found >= 0 && copy_out(user, fds, count * sizeof *fds))
        found = -EFAULT;
    kfree(fds);
    return found;
}

i64 sys_poll(u64 fds, u32 count, i32 timeout_ms) {
    return poll(fds, count, after_ms(timeout_ms));
}

i64 sys_ppoll(u64 fds, u32 count, u64 timeout, u64 mask, u64 size) {
    u64 until;
    i64 error = deadline_of(timeout, &until);

    if (!error && mask)
        error = replace_blocked(mask, size);

    return error ? error : left_of(timeout, until, 1, poll(fds, count, until));
}

/* The three bit sets of select, as the events of poll. */
struct sets { u64 user[3], bits[3][MAX_POLL / 64]; };
static const i16 set_event[3] = {POLLIN, POLLOUT, 0};

static i64 read_sets(struct sets *s, struct pollfd *fds, u64 count) {
    u64 bytes = ROUND_UP(count, 64) / 8;

    for (int k = 0; k < 3; k++)
        if (s->user[k] && copy_in(s->bits[k], s->user[k], bytes))
            return -EFAULT;
    for (u64 fd = 0; fd < count; fd++) {
        fds[fd] = (struct pollfd){-1, 0, 0};
        for (int k = 0; k < 3; k++)
            if (s->bits[k][fd / 64] >> fd % 64 & 1) {
                fds[fd].fd = (i32)fd;
                fds[fd].events |= set_event[k];
            }
        if (fds[fd].fd >= 0 && !file_at((i32)fd))
            return -EBADF;
    }
    return 0;
}

static i64 write_sets(struct sets *s, const struct pollfd *fds, u64 count) {
    i64 found = 0;

    for (u64 fd = 0; fd < count; fd++)
        for (int k = 0; k < 3; k++) {
            u64 *word = &s->bits[k][fd / 64], bit = 1UL << fd % 64;
            bool on = *word & bit && fds[fd].revents & (set_event[k] | (k == 0 ? POLLHUP | POLLERR : 0));
            *word = on ? *word : *word & ~bit;
            found += on;
        }
    for (int k = 0; k < 3; k++)
        if (s->user[k] && copy_out(s->user[k], s->bits[k], ROUND_UP(count, 64) / 8))
            return -EFAULT;
    return found;
}

static i64 do_select(i32 count, u64 in, u64 out, u64 except, u64 until) {
    u64 n = (u64)count;

    if (count < 0 || count > MAX_POLL)
        return -EINVAL;
    struct sets *s = kmalloc(sizeof *s);
    struct pollfd *fds = kmalloc(n * sizeof *fds + 1);
    i64 found = s && fds ? 0 : -ENOMEM;
    if (!found) {
        s->user[0] = in, s->user[1] = out, s->user[2] = except;
        found = read_sets(s, fds, n);
    }
    if (!found)
        found = wait_for(fds, n, until);
    if (found >= 0)
        found = write_sets(s, fds, n);
    kfree(s);
    kfree(fds);
    return found;
}

i64 sys_select(i32 count, u64 in, u64 out, u64 except, u64 timeout) {
    struct timeval t = {0, 0};

    if (timeout && copy_in(&t, timeout, sizeof t))
        return -EFAULT;
    if (t.sec < 0 || t.usec < 0)
        return -EINVAL;
    u64 until = kept_deadline(timeout ? now_ns() + (u64)t.sec * NS_PER_S + (u64)t.usec * 1000 : FOREVER);
    return left_of(timeout, until, 1000, do_select(count, in, out, except, until));
}

i64 sys_pselect6(i32 count, u64 in, u64 out, u64 except, u64 timeout, u64 mask) {
    struct { u64 at, size; } m = {0, 0};
    u64 until;
    i64 error = mask && copy_in(&m, mask, sizeof m) ? -EFAULT : deadline_of(timeout, &until);

    if (!error && m.at)
        error = replace_blocked(m.at, m.size);

    return error ? error : left_of(timeout, until, 1, do_select(count, in, out, except, until));
}
