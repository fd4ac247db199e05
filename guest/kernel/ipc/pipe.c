/* Pipes and FIFOs. */
#include "pipe.h"

#include "fs/inode.h"
#include "kernel.h"
#include "mm/page.h"
#include "mm/slab.h"
#include "mm/vm.h"
#include "net/rights.h"
#include "syscall/syscalls.h"
#include "task/process.h"

#define SIZE_MAX_OF_PIPE (1UL << 20)    /* as Linux's pipe-max-size */

struct pollers pollers;

void file_changed(const void *channel) {
    wakeup(channel);
    wakeup(&pollers);
}

/* All rings together: a quarter of the memory. */
static u64 pages_held;

struct pipe *pipe_new(u64 pages) {
    struct pipe *p = kmalloc(sizeof *p);

    if (p && !(p->page = kmalloc(pages * sizeof *p->page))) {
        kfree(p);
        return NULL;
    }
    if (p) {
        p->pages = pages;
        p->size = pages * PAGE_SIZE;
    }
    return p;
}

static bool make_page(u8 **page) {
    if (*page)
        return true;
    if (pages_held >= pages_total() / 4 || !(*page = page_alloc()))
        return false;
    pages_held++;
    return true;
}

static void drop_page(u8 **page) {
    if (!*page)
        return;
    page_put(physical(*page));
    *page = NULL;
    pages_held--;
}

static u8 **page_of(const struct pipe *p, u64 at) { return &p->page[at / PAGE_SIZE % p->pages]; }

void pipe_free(struct pipe *p) {
    for (u64 i = 0; i < p->pages; i++)
        drop_page(&p->page[i]);
    while (p->rights)
        rights_drop(rights_next(&p->rights));
    kfree(p->page);
    kfree(p);
}

static u64 used(const struct pipe *p) { return p->head - p->tail; }

u64 pipe_used(const struct pipe *p) { return used(p); }

/* The longest piece at `at` that lies in one page. */
static u64 piece(u64 at, u64 n) { return MIN(n, PAGE_SIZE - (at & PAGE_MASK)); }

static bool has_room(const struct pipe *p) { return p->size - used(p) >= PIPE_BUF; }

/* Is the page that ends there read to its end?  In a full ring, its beginning may hold the newest bytes already. */
static bool is_empty(const struct pipe *p, u64 end) { return !(end & PAGE_MASK) && p->head <= end - PAGE_SIZE + p->pages * PAGE_SIZE; }

static u64 take(struct pipe *p, u8 *to, u64 n) {
    bool full = !has_room(p);
    u64 done = 0;

    n = MIN(n, used(p));
    for (u64 part; done < n; done += part, p->tail += part) {
        u8 **page = page_of(p, p->tail);
        part = piece(p->tail, n - done);
        memcpy(to + done, *page + (p->tail & PAGE_MASK), part);
        if (p->pages > PIPE_PAGES && is_empty(p, p->tail + part))
            drop_page(page);            /* a small ring keeps its pages for what comes next */
    }
    p->freed += full && has_room(p);
    return n;
}

u64 pipe_peek(const struct pipe *p, u8 *to, u64 n) {
    u64 done = 0;

    n = MIN(n, used(p));
    for (u64 part; done < n; done += part) {
        part = piece(p->tail + done, n - done);
        memcpy(to + done, *page_of(p, p->tail + done) + ((p->tail + done) & PAGE_MASK), part);
    }
    return n;
}

static u64 put(struct pipe *p, const u8 *from, u64 n) {
    u64 done = 0;

    n = MIN(n, p->size - used(p));
    for (u64 part; done < n; done += part, p->head += part) {
        u8 **page = page_of(p, p->head);
        if (!make_page(page))
            break;
        part = piece(p->head, n - done);
        memcpy(*page + (p->head & PAGE_MASK), from + done, part);
    }
    return done;
}

i64 pipe_read(struct pipe *p, u8 *to, u64 n, bool wait) {
    if (n && !used(p))
        return !p->writers ? 0 : !wait ? -EAGAIN : sleep_then_retry(p);
    u64 got = take(p, to, n);
    if (got)
        file_changed(p);
    return (i64)got;
}

/* `least`: what goes in as one, or waits. */
i64 pipe_write(struct pipe *p, const u8 *from, u64 n, u64 least, bool wait) {
    u64 done = 0;

    while (done < n) {
        if (!p->readers) {
            struct siginfo info = {.signal = SIGPIPE, .pid = current->process->pid};
            signal_task(current, &info);
            return done ? (i64)done : -EPIPE;
        }
        if (p->size - used(p) >= least) {
            u64 part = put(p, from + done, n - done);
            if (!part)
                return done ? (i64)done : -ENOMEM;
            done += part;
            file_changed(p);
        } else if (done) {
            break;
        } else {
            return !wait ? -EAGAIN : sleep_then_retry(p);
        }
    }
    return (i64)done;
}

/* A larger ring, with the pages that hold something. */
static bool grow(struct pipe *p, u64 pages) {
    u8 **page = kmalloc(pages * sizeof *page), *both = NULL;
    u64 start = ROUND_DOWN(p->tail, PAGE_SIZE), end = start + p->pages * PAGE_SIZE;

    if (!page || (p->head > end && !make_page(&both))) {
        kfree(page);
        return false;
    }
    if (both) {                         /* the oldest and the newest bytes share a page so far */
        memcpy(both, *page_of(p, start), PAGE_SIZE);
        page[end / PAGE_SIZE % pages] = both;
    }
    for (u64 at = start; at < MIN(p->head, end); at += PAGE_SIZE) {
        page[at / PAGE_SIZE % pages] = *page_of(p, at);
        *page_of(p, at) = NULL;
    }
    for (u64 i = 0; i < p->pages; i++)
        drop_page(&p->page[i]);
    kfree(p->page);
    p->page = page;
    p->pages = pages;
    return true;
}

i64 pipe_resize(struct pipe *p, u64 size) {
    u64 wanted = PAGE_SIZE;

    if (size > SIZE_MAX_OF_PIPE)
        return -EPERM;
    while (wanted < size)
        wanted *= 2;
    if (wanted < used(p))
        return -EBUSY;
    if (wanted > p->pages * PAGE_SIZE && !grow(p, wanted / PAGE_SIZE))
        return -ENOMEM;
    p->size = wanted;
    file_changed(p);
    return (i64)wanted;
}

u64 pipe_poll_generation(const struct pipe *p, bool read, bool write) { return (read ? p->head : 0) + (write ? p->freed : 0); }

i16 pipe_poll(const struct pipe *p, bool read, bool write) {
    i16 events = 0;

    if (read)
        events |= (used(p) ? POLLIN | POLLRDNORM : 0) | (p->writers || !p->opened_write ? 0 : POLLHUP);
    if (write)
        events |= (has_room(p) ? POLLOUT | POLLWRNORM : 0) | (p->readers ? 0 : POLLERR);
    return events;
}

/* ---- as files: the inode holds the ring ---- */

static struct pipe *pipe_of(const struct file *f) { return f->inode->pipe; }
static bool may_wait(const struct file *f) { return !(f->flags & O_NONBLOCK); }

static i64 fifo_read(struct file *f, u8 *to, u64 n, u64 moved) {
    i64 got = pipe_read(pipe_of(f), to, n, !moved && may_wait(f));

    return got == -EAGAIN && moved ? 0 : got;
}

static i64 fifo_write(struct file *f, const u8 *from, u64 n, u64 moved) {
    i64 put = pipe_write(pipe_of(f), from, n, moved || n > PIPE_BUF ? 1 : n, may_wait(f));

    return put == -EAGAIN && moved ? 0 : put;
}

static i16 fifo_poll(struct file *f) { return pipe_poll(pipe_of(f), readable(f), writable(f)); }

static u64 fifo_poll_generation(struct file *f) { return pipe_poll_generation(pipe_of(f), readable(f), writable(f)); }

static i64 fifo_ioctl(struct file *f, u32 request, u64 argument) {
    i32 count = (i32)used(pipe_of(f));

    return request == FIONREAD ? copy_out(argument, &count, sizeof count) : -ENOTTY;
}

static void join(struct file *f) {
    struct pipe *p = pipe_of(f);

    p->readers += readable(f);
    p->opened_read += readable(f);
    p->writers += writable(f);
    p->opened_write += writable(f);
    file_changed(p);
}

static void fifo_release(struct file *f) {
    struct pipe *p = pipe_of(f);

    p->readers -= readable(f);
    p->writers -= writable(f);
    file_changed(p);
    if (!p->readers && !p->writers) {
        pipe_free(p);
        f->inode->pipe = NULL;
    }
}

/* Both sides meet here, unless one opens for both or does not want to wait. */
static int fifo_open(struct file *f) {
    if (!f->inode->pipe && !(f->inode->pipe = pipe_new(PIPE_PAGES)))
        return -ENOMEM;
    struct pipe *p = pipe_of(f);
    bool both = readable(f) && writable(f);
    if (writable(f) && !both && !may_wait(f) && !p->readers && !p->nameless)
        return p->writers || p->readers ? -ENXIO : (pipe_free(p), f->inode->pipe = NULL, -ENXIO);
    join(f);
    if (both || !may_wait(f) || p->nameless)
        return 0;
    u32 *met = readable(f) ? &p->opened_write : &p->opened_read, before = *met;
    while (!(readable(f) ? p->writers : p->readers) && *met == before)
        if (sleep_on(p, FOREVER)) {
            fifo_release(f);
            return -ERESTART;
        }
    return 0;
}

const struct file_ops fifo_ops = {
    .read = fifo_read, .write = fifo_write, .ioctl = fifo_ioctl, .poll = fifo_poll, .poll_generation = fifo_poll_generation, .open = fifo_open,
    .release = fifo_release, .stream = true,
};

static struct file *end_of(struct inode *i, u32 flags) {
    struct file *f = file_open(i, flags);

    if (f)
        join(f);
    return f;
}

i64 sys_pipe2(u64 to, u32 flags) {
    struct inode *i;
    i32 fds[2];

    if (flags & ~(u32)(O_CLOEXEC | O_NONBLOCK))
        return -EINVAL;
    if (!(i = inode_new(S_IFIFO | 0600)))
        return -ENOMEM;
    if (!(i->pipe = pipe_new(PIPE_PAGES))) {
        inode_put(i);
        return -ENOMEM;
    }
    i->pipe->nameless = true;
    struct file *in = end_of(i, O_RDONLY | (flags & O_NONBLOCK)), *out = end_of(i, O_WRONLY | (flags & O_NONBLOCK));
    inode_put(i);
    return fd_install_pair(in, out, flags & O_CLOEXEC, fds) ? -EMFILE : copy_out_pair(to, fds);
}

i64 sys_pipe(u64 to) { return sys_pipe2(to, 0); }
