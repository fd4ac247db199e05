/* inotify: a queue of events of the files and directories that it watches. */
#include "inotify.h"

#include "file.h"
#include "kernel.h"
#include "mm/slab.h"
#include "mm/vm.h"
#include "syscall/syscalls.h"
#include "task/ids.h"
#include "task/process.h"

#define IN_Q_OVERFLOW 0x4000u
#define IN_IGNORED 0x8000u
#define IN_ONLYDIR 0x01000000u
#define IN_DONT_FOLLOW 0x02000000u
#define IN_EXCL_UNLINK 0x04000000u
#define IN_MASK_CREATE 0x10000000u
#define IN_MASK_ADD 0x20000000u
#define IN_ONESHOT 0x80000000u
#define EVENTS 0xfffu
#define KNOWN (EVENTS | IN_ONLYDIR | IN_DONT_FOLLOW | IN_EXCL_UNLINK | IN_MASK_CREATE | IN_MASK_ADD | IN_ONESHOT | 0xe000u | IN_ISDIR)
#define QUEUE_MAX 4096          /* events of one; Linux has 16384 */
#define WATCHES_MAX 8192        /* of all */
#define INSTANCES_MAX 128

struct inotify_event { i32 wd; u32 mask, cookie, length; };

struct event { struct event *next; struct inotify_event head; char name[]; };   /* name: padded to head.length */

struct watch { struct watch *next; struct inode *inode; i32 wd; u32 mask; };    /* no reference: its end takes it out */

struct inotify {
    struct inotify *next;
    struct watch *first_watch;
    struct event *first, *last;
    u64 count, bytes, arrivals;
    i32 last_wd;
};

u64 watches;
static struct inotify *all;
static u64 instances;

static struct inotify *inotify_of(const struct file *f) { return f->own; }

/* The same as the last one again says nothing new. */
static bool is_again(const struct event *last, i32 wd, u32 mask, const char *name) {
    return last && last->head.wd == wd && last->head.mask == mask && !(mask & IN_IGNORED) && strcmp(last->head.length ? last->name : "", name) == 0;
}

static void post(struct inotify *in, i32 wd, u32 mask, u32 cookie, const char *name) {
    u64 n = *name ? ROUND_UP(strlen(name) + 1, sizeof(struct inotify_event)) : 0;

    if (in->count >= QUEUE_MAX) {
        wd = -1, mask = IN_Q_OVERFLOW, cookie = 0, n = 0, name = "";
    }
    if (is_again(in->last, wd, mask, name))
        return;
    struct event *e = kmalloc(sizeof *e + n);
    if (!e)
        return;
    e->head = (struct inotify_event){wd, mask, cookie, (u32)n};
    copy_string(e->name, name, n);
    *(in->last ? &in->last->next : &in->first) = e;
    in->last = e;
    in->count++;
    in->arrivals++;
    in->bytes += sizeof e->head + n;
    file_changed(in);
}

static struct watch **find(struct inotify *in, const struct inode *i) {
    struct watch **at = &in->first_watch;

    while (*at && (*at)->inode != i)
        at = &(*at)->next;
    return at;
}

static void remove_watch(struct inotify *in, struct watch **at) {
    struct watch *w = *at;

    *at = w->next;
    watches--;
    post(in, w->wd, IN_IGNORED, 0, "");
    kfree(w);
}

static void tell(const struct inode *i, u32 what, u32 flags, u32 cookie, const char *name) {
    for (struct inotify *in = all; in; in = in->next) {
        struct watch **at = find(in, i);
        if (!*at || !((*at)->mask & what))
            continue;
        post(in, (*at)->wd, what | flags, cookie, name);
        if ((*at)->mask & IN_ONESHOT)
            remove_watch(in, at);
    }
}

static u32 kind_of(const struct inode *i) { return is_directory(i) ? IN_ISDIR : 0; }

void inotify_tell_self(const struct inode *i, u32 what) {
    if (watches)
        tell(i, what, what & (IN_DELETE_SELF | IN_MOVE_SELF) ? 0 : kind_of(i), 0, "");
}

void inotify_tell_all(const struct inode *i, u32 what) {
    const struct dirent *d = i->in_proc ? NULL : directory_name_of(i);

    if (d)
        tell(d->directory, what, kind_of(i), 0, d->name);
    tell(i, what, kind_of(i), 0, "");
}

void inotify_name(const struct inode *directory, const char *name, const struct inode *i, u32 what, u32 cookie) {
    if (watches)
        tell(directory, what, kind_of(i), cookie, name);
}

u32 inotify_cookie(void) {
    static u32 last;

    return ++last;
}

void inotify_forget(const struct inode *i) {
    if (!watches)
        return;
    tell(i, IN_DELETE_SELF, 0, 0, "");
    for (struct inotify *in = all; in; in = in->next) {
        struct watch **at = find(in, i);
        if (*at)
            remove_watch(in, at);
    }
}

/* ---- as a file ---- */

static i64 give(struct inotify *in, u64 to, u64 room) {
    struct event *e = in->first;
    u64 n = sizeof e->head + e->head.length;

    if (n > room)
        return 0;
    if (copy_out(to, &e->head, sizeof e->head) || copy_out(to + sizeof e->head, e->name, e->head.length))
        return -EFAULT;
    in->first = e->next;
    in->last = e->next ? in->last : NULL;
    in->count--;
    in->bytes -= n;
    kfree(e);
    return (i64)n;
}

static i64 inotify_message(struct file *f, const struct iovec *pieces, u64 count, bool write) {
    struct inotify *in = inotify_of(f);
    u64 done = 0;
    i64 given = 0;

    if (write || !count)
        return write ? -EBADF : 0;
    while (!in->first) {
        given = f->flags & O_NONBLOCK ? -EAGAIN : sleep_then_retry(in);
        if (given != -ERETRY)
            return given;
    }
    while (in->first && (given = give(in, pieces->base + done, pieces->length - done)) > 0)
        done += (u64)given;
    return done ? (i64)done : given ? given : -EINVAL;
}

static i64 inotify_ioctl(struct file *f, u32 request, u64 argument) {
    i32 bytes = (i32)inotify_of(f)->bytes;

    return request == FIONREAD ? copy_out(argument, &bytes, sizeof bytes) : -ENOTTY;
}

static i16 inotify_poll(struct file *f) { return inotify_of(f)->first ? POLLIN | POLLRDNORM : 0; }
static u64 inotify_poll_generation(struct file *f) { return inotify_of(f)->arrivals; }

static void inotify_release(struct file *f) {
    struct inotify *in = inotify_of(f), **at = &all;

    while (*at != in)
        at = &(*at)->next;
    *at = in->next;
    instances--;
    while (in->first_watch)
        remove_watch(in, &in->first_watch);
    while (in->first) {
        struct event *e = in->first;
        in->first = e->next;
        kfree(e);
    }
    kfree(in);
}

static i64 refuse(struct file *f, u8 *to, u64 n, u64 at) {
    (void)f, (void)to, (void)n, (void)at;
    return -EINVAL;
}

static const struct file_ops inotify_ops = {
    .read = refuse, .message = inotify_message, .ioctl = inotify_ioctl, .poll = inotify_poll, .poll_generation = inotify_poll_generation,
    .release = inotify_release, .stream = true, .whole = true,
};

i64 sys_inotify_init1(u32 flags) {
    if (flags & ~(u32)(O_CLOEXEC | O_NONBLOCK))
        return -EINVAL;
    if (instances >= INSTANCES_MAX)
        return -EMFILE;
    struct inotify *in = kmalloc(sizeof *in);
    struct file *f = file_nameless(&inotify_ops, in, O_RDONLY | (flags & O_NONBLOCK));
    if (!f)
        return -ENOMEM;
    instances++;
    in->next = all;
    all = in;
    return fd_install(f, 0, flags & O_CLOEXEC);
}

i64 sys_inotify_init(void) { return sys_inotify_init1(0); }

static i64 watch(struct inotify *in, struct inode *i, u32 mask) {
    struct watch **at = find(in, i), *w = *at;

    if (w && mask & IN_MASK_CREATE)
        return -EEXIST;
    if (w) {
        w->mask = (mask & IN_MASK_ADD ? w->mask : 0) | (mask & (EVENTS | IN_ONESHOT));
        return w->wd;
    }
    if (watches >= WATCHES_MAX)
        return -ENOSPC;
    if (!(w = *at = kmalloc(sizeof *w)))
        return -ENOMEM;
    *w = (struct watch){NULL, i, ++in->last_wd, mask & (EVENTS | IN_ONESHOT)};
    watches++;
    return w->wd;
}

static i64 inotify_at(i32 fd, struct file **f) {
    *f = file_at(fd);
    return !*f ? -EBADF : (*f)->ops != &inotify_ops ? -EINVAL : 0;
}

i64 sys_inotify_add_watch(i32 fd, u64 path, u32 mask) {
    struct inode *i;
    struct file *f;

    if (!(mask & KNOWN) || (mask & IN_MASK_ADD && mask & IN_MASK_CREATE))
        return -EINVAL;
    i64 error = inotify_at(fd, &f);
    if (!error)
        error = path_find(AT_FDCWD, path, mask & IN_DONT_FOLLOW ? AT_SYMLINK_NOFOLLOW : 0, &i);
    if (error)
        return error;
    error = mask & IN_ONLYDIR && !is_directory(i) ? -ENOTDIR : inode_may(i, MAY_READ);
    if (!error)
        error = watch(inotify_of(f), i, mask);
    inode_put(i);
    return error;
}

i64 sys_inotify_rm_watch(i32 fd, i32 wd) {
    struct file *f;
    i64 error = inotify_at(fd, &f);

    if (error)
        return error;
    struct watch **at = &inotify_of(f)->first_watch;
    while (*at && (*at)->wd != wd)
        at = &(*at)->next;
    if (!*at)
        return -EINVAL;
    remove_watch(inotify_of(f), at);
    return 0;
}
