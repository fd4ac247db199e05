/* splice, tee and vmsplice: bytes into a pipe, out of it, or from one to another.  Linux moves pages; here they are copied. */
#include "file.h"
#include "inotify.h"
#include "ipc/pipe.h"
#include "kernel.h"
#include "mm/page.h"
#include "mm/vm.h"
#include "syscall/syscalls.h"
#include "task/process.h"

#define SPLICE_F_NONBLOCK 2u
#define SPLICE_F_ALL 15u
#define TRANSFER_MAX 0x7ffff000UL

static struct pipe *pipe_at(const struct file *f) { return f->ops == &fifo_ops ? f->inode->pipe : NULL; }

static bool waits(const struct file *f, u32 flags) { return !(flags & SPLICE_F_NONBLOCK) && !(f->flags & O_NONBLOCK); }

/* 0 once there is something to read, or there will never be. */
static i64 wait_for_bytes(const struct pipe *p, bool wait) {
    i64 error = 0;

    while (!pipe_used(p) && p->writers && !error) {
        error = wait ? sleep_then_retry(p) : -EAGAIN;
        if (error == -ERETRY)
            error = 0;
    }
    return error;
}

static i64 wait_for_room(const struct pipe *p, bool wait) {
    i64 error = 0;

    while (p->readers && pipe_used(p) >= p->size && !error) {
        error = wait ? sleep_then_retry(p) : -EAGAIN;
        if (error == -ERETRY)
            error = 0;
    }
    return error;
}

/* From a file into a pipe, as much as there is room for now. */
static i64 fill(struct pipe *to, struct file *in, u64 *position, u64 n, bool wait, u8 *page) {
    u64 done = 0;
    i64 moved = wait_for_room(to, wait);

    if (moved)
        return moved;
    do {
        u64 part = to->readers ? MIN(MIN(n - done, PAGE_SIZE), to->size - pipe_used(to)) : n;
        moved = to->readers && !part ? 0 : to->readers ? file_move(in, page, part, in->ops->stream ? done : *position, false) : 1;
        if (moved > 0)
            moved = pipe_write(to, page, (u64)moved, 1, false);
        done += moved > 0 ? (u64)moved : 0;
        *position += moved > 0 ? (u64)moved : 0;
    } while (moved > 0 && done < n && !in->ops->whole);
    return done ? (i64)done : moved;
}

/* From a pipe into a file: what could not be written stays in the pipe. */
static i64 drain(struct pipe *from, struct file *out, u64 *position, u64 n, bool wait, u8 *page) {
    u64 done = 0;
    i64 moved = wait_for_bytes(from, wait);

    while (!moved && done < n) {
        u64 part = pipe_peek(from, page, MIN(n - done, PAGE_SIZE));
        moved = part ? file_write_all(out, page, part, out->ops->stream ? 0 : *position) : 0;
        if (moved <= 0)
            break;
        pipe_read(from, page, (u64)moved, false);
        done += (u64)moved;
        *position += (u64)moved;
        moved = (u64)moved < part;
    }
    return done ? (i64)done : moved;
}

static i64 between(struct pipe *from, struct pipe *to, u64 n, bool wait, bool keep, u8 *page) {
    u64 done = 0;
    i64 moved = wait_for_bytes(from, wait);

    if (!moved)
        moved = wait_for_room(to, wait);
    if (moved)
        return moved;
    if (keep)
        n = MIN(n, PAGE_SIZE);          /* one look from the beginning */
    while (done < n) {
        u64 part = pipe_peek(from, page, MIN(n - done, PAGE_SIZE));
        moved = part ? pipe_write(to, page, part, 1, false) : 0;
        if (moved <= 0)
            break;
        if (!keep)
            pipe_read(from, page, (u64)moved, false);
        done += (u64)moved;
    }
    return done ? (i64)done : moved == -EAGAIN ? 0 : moved;
}

static i64 copy_offset(u64 at, u64 *position) { return at ? copy_in(position, at, sizeof *position) : 0; }

/* An offset is the caller's, or the file's own position. */
static i64 splice(struct file *in, u64 in_at, struct file *out, u64 out_at, u64 n, u32 flags, u8 *page) {
    struct pipe *from = pipe_at(in), *to = pipe_at(out);
    struct file *plain = from ? out : in;
    u64 at = from ? out_at : in_at, position = plain->position;

    if ((from && in_at) || (to && out_at))
        return -ESPIPE;
    if (from && to)
        return from == to ? -EINVAL : between(from, to, n, waits(in, flags) && waits(out, flags), false, page);
    if ((!from && !to) || (from && out->flags & O_APPEND) || (at && plain->ops->stream) || (from ? !out->ops->write : !in->ops->read))
        return -EINVAL;
    if (copy_offset(at, &position))
        return -EFAULT;
    if ((i64)position < 0)
        return -EINVAL;
    i64 moved = from ? drain(from, out, &position, n, waits(in, flags), page) : fill(to, in, &position, n, waits(out, flags), page);
    if (moved > 0)
        inotify_tell(plain->inode, from ? IN_MODIFY : IN_ACCESS);
    if (!at)
        plain->position = position;
    return at && copy_out(at, &position, sizeof position) ? -EFAULT : moved;
}

i64 sys_splice(i32 in_fd, u64 in_at, i32 out_fd, u64 out_at, u64 n, u32 flags) {
    struct file *in = file_at(in_fd), *out = file_at(out_fd);

    if (!n)
        return 0;
    if (flags & ~SPLICE_F_ALL)
        return -EINVAL;
    if (!in || !out || !readable(in) || !writable(out))
        return -EBADF;
    u8 *page = page_alloc();
    if (!page)
        return -ENOMEM;
    in->refs++, out->refs++;
    i64 moved = splice(in, in_at, out, out_at, MIN(n, TRANSFER_MAX), flags, page);
    page_put(physical(page));
    file_put(in);
    file_put(out);
    return moved;
}

i64 sys_tee(i32 in_fd, i32 out_fd, u64 n, u32 flags) {
    struct file *in = file_at(in_fd), *out = file_at(out_fd);

    if (flags & ~SPLICE_F_ALL)
        return -EINVAL;
    if (!n)
        return 0;
    if (!in || !out || !readable(in) || !writable(out))
        return -EBADF;
    struct pipe *from = pipe_at(in), *to = pipe_at(out);
    if (!from || !to || from == to)
        return -EINVAL;
    u8 *page = page_alloc();
    if (!page)
        return -ENOMEM;
    in->refs++, out->refs++;
    i64 moved = between(from, to, n, waits(in, flags) && waits(out, flags), true, page);
    page_put(physical(page));
    file_put(in);
    file_put(out);
    return moved;
}

i64 sys_vmsplice(i32 fd, u64 vector, u64 count, u32 flags) {
    struct file *f = file_at(fd);

    if (flags & ~SPLICE_F_ALL)
        return -EINVAL;
    if (!f || !pipe_at(f))
        return -EBADF;
    return writable(f) ? sys_writev(fd, vector, count) : sys_readv(fd, vector, count);
}
