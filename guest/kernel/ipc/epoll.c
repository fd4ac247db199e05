/* epoll: a list of files; epoll_wait() calls poll() on each. */
#include "fs/inode.h"
#include "kernel.h"
#include "mm/slab.h"
#include "mm/vm.h"
#include "poll.h"
#include "syscall/syscalls.h"
#include "task/process.h"

#define EPOLL_CTL_ADD 1
#define EPOLL_CTL_DEL 2
#define EPOLL_CTL_MOD 3
#define EPOLLONESHOT (1u << 30)
#define EPOLLET (1u << 31)
#define EVENTS_MAX 1024

struct event { u32 events; u64 data; } __attribute__((packed));

struct interest {
    struct interest *next;
    struct file *file;          /* no reference: its end takes it out */
    i32 fd;
    struct event wanted;
    i16 last;                   /* what an edge is measured against: what was told, */
    u64 last_generation;        /* and the file's count of what came */
};

struct epoll { struct interest *first; struct epoll *next; struct file *file; };

static struct epoll *all;

#define DEPTH_MAX 4             /* as Linux's EP_MAX_NESTS */

static struct epoll *epoll_of(const struct file *f) { return f->own; }

static u64 generation_of(struct file *f) { return f->ops->poll_generation ? f->ops->poll_generation(f) : 0; }

static i16 has_news(const struct interest *e) {
    i16 now = file_ready(e->file) & ((i16)(e->wanted.events & 0xffff) | POLLERR | POLLHUP);

    if (e->wanted.events & EPOLLET && !(now & ~e->last) && generation_of(e->file) == e->last_generation)
        return 0;
    return now;
}

static i16 epoll_poll(struct file *f) {
    for (const struct interest *e = epoll_of(f)->first; e; e = e->next)
        if (e->wanted.events && has_news(e))
            return POLLIN | POLLRDNORM;
    return 0;
}

static void epoll_release(struct file *f) {
    struct epoll *ep = epoll_of(f), **at = &all;
    struct interest *e;

    while (*at != ep)
        at = &(*at)->next;
    *at = ep->next;
    while ((e = ep->first)) {
        ep->first = e->next;
        kfree(e);
    }
    kfree(ep);
}

static const struct file_ops epoll_ops = {.poll = epoll_poll, .release = epoll_release, .stream = true};

/* A file is released: remove it from every epoll. */
void epoll_forget(struct file *f) {
    for (struct epoll *ep = all; ep; ep = ep->next)
        for (struct interest **at = &ep->first, *e; (e = *at);)
            if (e->file == f) {
                *at = e->next;
                kfree(e);
            } else {
                at = &e->next;
            }
}

i64 sys_epoll_create1(u32 flags) {
    if (flags & ~(u32)O_CLOEXEC)
        return -EINVAL;
    struct epoll *ep = kmalloc(sizeof *ep);
    struct file *f = file_nameless(&epoll_ops, ep, O_RDWR);
    if (!f)
        return -ENOMEM;
    *ep = (struct epoll){NULL, all, f};
    all = ep;
    return fd_install(f, 0, flags & O_CLOEXEC);
}

i64 sys_epoll_create(i32 size) { return size <= 0 ? -EINVAL : sys_epoll_create1(0); }

static struct interest **find(struct epoll *ep, const struct file *f, i32 fd) {
    struct interest **at = &ep->first;

    while (*at && !((*at)->file == f && (*at)->fd == fd))
        at = &(*at)->next;
    return at;
}

/* Does `f` wait for `target`, through however many others? */
static bool waits_for(const struct file *f, const struct file *target, int depth) {
    if (f == target || depth > 5)
        return true;
    if (f->ops != &epoll_ops)
        return false;
    for (const struct interest *e = epoll_of(f)->first; e; e = e->next)
        if (waits_for(e->file, target, depth + 1))
            return true;
    return false;
}

/* How many wait for each other, below and above one. */
static int depth_below(const struct file *f) {
    int depth = 0;

    for (const struct interest *e = epoll_of(f)->first; e; e = e->next)
        if (e->file->ops == &epoll_ops)
            depth = MAX(depth, 1 + depth_below(e->file));
    return depth;
}

static int depth_above(const struct epoll *ep) {
    int depth = 0;

    for (const struct epoll *above = all; above; above = above->next)
        for (const struct interest *e = above->first; e; e = e->next)
            if (e->file == ep->file)
                depth = MAX(depth, 1 + depth_above(above));
    return depth;
}

static i64 add(struct epoll *ep, struct file *f, i32 fd, const struct event *wanted, struct interest **at) {
    if (*at)
        return -EEXIST;
    if (f->ops == &epoll_ops && (waits_for(f, ep->file, 0) || depth_below(f) + 1 + depth_above(ep) > DEPTH_MAX))
        return -ELOOP;
    if (!(*at = kmalloc(sizeof **at)))
        return -ENOMEM;
    **at = (struct interest){.file = f, .fd = fd, .wanted = *wanted};
    return 0;
}

i64 sys_epoll_ctl(i32 epfd, u32 op, i32 fd, u64 event) {
    struct file *ef = file_at(epfd), *f = file_at(fd);
    struct event wanted = {0, 0};

    if (op != EPOLL_CTL_DEL && copy_in(&wanted, event, sizeof wanted))
        return -EFAULT;
    if (!ef || !f)
        return -EBADF;
    if (is_regular(f->inode) && f->ops == f->inode->ops)
        return -EPERM;
    if (is_directory(f->inode))
        return -EPERM;
    if (ef->ops != &epoll_ops || ef == f)
        return -EINVAL;
    struct interest **at = find(epoll_of(ef), f, fd), *e = *at;
    i64 error = 0;
    switch (op) {
    case EPOLL_CTL_ADD:
        error = add(epoll_of(ef), f, fd, &wanted, at);
        break;
    case EPOLL_CTL_MOD:
        if (!e)
            return -ENOENT;
        e->wanted = wanted;
        e->last = 0;
        break;
    case EPOLL_CTL_DEL:
        if (!e)
            return -ENOENT;
        *at = e->next;
        kfree(e);
        break;
    default:
        return -EINVAL;
    }
    file_changed(ef);
    return error;
}

/* What there is to tell, and the end of it for those that want to hear once. */
static i64 collect(struct epoll *ep, u64 to, u64 room) {
    u64 count = 0;

    for (struct interest *e = ep->first; e && count < room; e = e->next) {
        i16 now = e->wanted.events ? has_news(e) : 0;
        e->last = file_ready(e->file);
        e->last_generation = generation_of(e->file);
        if (!now)
            continue;
        struct event told = {(u32)(u16)now, e->wanted.data};
        if (copy_out(to + count * sizeof told, &told, sizeof told))
            return count ? (i64)count : -EFAULT;
        count++;
        if (e->wanted.events & EPOLLONESHOT)
            e->wanted.events = 0;
    }
    return (i64)count;
}

static i64 collect_until(struct epoll *ep, u64 to, u64 room, u64 until) {
    for (;;) {
        i64 found = collect(ep, to, room);
        if (found)
            return found;
        int error = sleep_on(&pollers, until);
        if (error)
            return error == -ETIMEDOUT ? 0 : -EINTR;
    }
}

static i64 wait(i32 epfd, u64 to, i32 room, u64 until) {
    struct file *ef = file_at(epfd);

    if (room <= 0 || room > EVENTS_MAX)
        return -EINVAL;
    if (!ef)
        return -EBADF;
    if (ef->ops != &epoll_ops)
        return -EINVAL;
    ef->refs++;                         /* another thread may close it meanwhile */
    i64 found = collect_until(epoll_of(ef), to, (u64)room, until);
    file_put(ef);
    return found;
}

i64 sys_epoll_wait(i32 epfd, u64 to, i32 room, i32 timeout_ms) { return wait(epfd, to, room, after_ms(timeout_ms)); }

i64 sys_epoll_pwait(i32 epfd, u64 to, i32 room, i32 timeout_ms, u64 mask, u64 size) {
    int error = mask ? replace_blocked(mask, size) : 0;

    return error ? error : wait(epfd, to, room, after_ms(timeout_ms));
}
