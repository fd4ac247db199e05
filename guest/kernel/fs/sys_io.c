/* Reading and writing. */
#include "file.h"
#include "inotify.h"
#include "kernel.h"
#include "mm/page.h"
#include "mm/slab.h"
#include "mm/vm.h"
#include "syscall/syscalls.h"
#include "task/process.h"

#define MAX_TRANSFER 0x7ffff000UL       /* as Linux: what one call moves at most */
#define WHOLE_MAX 65536UL
#define POSIX_FADV_NOREUSE 5            /* the last */
enum { SEEK_SET, SEEK_CUR, SEEK_END, SEEK_DATA, SEEK_HOLE };

/* One piece, from or to the kernel's own memory. */
i64 file_move(struct file *f, u8 *buffer, u64 n, u64 at, bool write) {
    i64 moved;

    do
        moved = write ? f->ops->write(f, buffer, n, at) : f->ops->read(f, buffer, n, at);
    while (moved == -ERETRY);
    return moved;
}

/* One piece that lies within a page of the program's, which is looked up again after each sleep. */
static i64 transfer_page(struct file *f, u64 user, u64 n, u64 at, bool write) {
    i64 moved;

    do {
        u8 *buffer = user_page(current->process->mm, user, write ? ACCESS_READ : ACCESS_WRITE);
        moved = !buffer ? -EFAULT : write ? f->ops->write(f, buffer, n, at) : f->ops->read(f, buffer, n, at);
    } while (moved == -ERETRY);
    return moved;
}

i64 file_write_all(struct file *f, u8 *from, u64 n, u64 at) {
    u64 done = 0;
    i64 moved;

    do {
        moved = file_move(f, from + done, n - done, at + done, true);
        done += moved > 0 ? (u64)moved : 0;
    } while (f->ops->stream && moved > 0 && done < n);
    return done ? (i64)done : moved;
}

/* What must not fall apart at the border of a page: a message, or what a pipe promises to take as one. */
static i64 transfer_whole(struct file *f, u64 user, u64 n, u64 at, bool write) {
    u8 *buffer = kmalloc(n);
    i64 moved = buffer ? 0 : -ENOMEM;

    if (!moved && write)
        moved = copy_in(buffer, user, n);
    if (!moved)
        moved = write ? file_write_all(f, buffer, n, at) : file_move(f, buffer, n, at, false);
    if (moved > 0 && !write && copy_out(user, buffer, (u64)moved))
        moved = -EFAULT;
    kfree(buffer);
    return moved;
}

static bool stays_whole(const struct file *f, u64 user, u64 n, bool write) {
    return f->ops->stream && n && (user & PAGE_MASK) + n > PAGE_SIZE && (f->ops->whole ? n <= WHOLE_MAX : write && n <= PAGE_SIZE);
}

i64 file_transfer(struct file *f, u64 user, u64 n, u64 *position, bool write) {
    bool stream = f->ops->stream;
    u64 done = 0;

    if (write ? !f->ops->write : !f->ops->read)
        return -EINVAL;
    n = MIN(n, MAX_TRANSFER);
    if (user + n > USER_TOP || user + n < user)
        return -EFAULT;
    if (f->ops->message)
        return f->ops->message(f, &(struct iovec){user, n}, 1, write);
    if (stays_whole(f, user, n, write))
        return transfer_whole(f, user, n, 0, write);
    if (!n && (!stream || f->ops->whole))       /* a message may be empty; even no bytes of a directory cannot be read */
        return file_move(f, NULL, 0, stream ? 0 : *position, write);
    while (done < n) {
        u64 part = MIN(n - done, PAGE_SIZE - ((user + done) & PAGE_MASK)), at = stream ? done : *position;
        i64 moved = f->ops->may_sleep ? transfer_whole(f, user + done, part, at, write) : transfer_page(f, user + done, part, at, write);
        if (moved < 0)
            return done ? (i64)done : moved;
        done += (u64)moved;
        *position += (u64)moved;
        if (!moved || ((u64)moved < part && !(write && stream)))
            break;
    }
    return (i64)done;
}

#define TOO_LARGE (~0UL)

/* RLIMIT_FSIZE: what may be written of n bytes. */
static u64 room_for(u64 position, u64 n) {
    u64 limit = current->process->limits[RLIMIT_FSIZE].soft;

    if (position + n <= limit)
        return n;
    if (position < limit)
        return limit - position;
    if (!n)
        return 0;
    struct siginfo info = {.signal = SIGXFSZ, .pid = current->process->pid};
    signal_task(current, &info);
    return TOO_LARGE;
}

static i64 move(i32 fd, u64 user, u64 n, i64 at, bool positioned, bool write) {
    struct file *f = file_at(fd);
    u64 position = (u64)at;

    if (!f || (write ? !writable(f) : !readable(f)))
        return -EBADF;
    if (positioned && f->ops->stream)
        return -ESPIPE;
    if (positioned && at < 0)
        return -EINVAL;
    if (write && f->flags & O_APPEND)
        f->position = position = f->inode->size;
    if (write && is_regular(f->inode) && (n = room_for(positioned ? position : f->position, n)) == TOO_LARGE)
        return -EFBIG;
    f->refs++;                                  /* another thread may close it while this one sleeps */
    i64 moved = file_transfer(f, user, n, positioned ? &position : &f->position, write);
    if (moved > 0)
        inotify_tell(f->inode, write ? IN_MODIFY : IN_ACCESS);
    file_put(f);
    return moved;
}

i64 sys_read(i32 fd, u64 to, u64 n) { return move(fd, to, n, 0, false, false); }
i64 sys_write(i32 fd, u64 from, u64 n) { return move(fd, from, n, 0, false, true); }
i64 sys_pread64(i32 fd, u64 to, u64 n, i64 at) { return move(fd, to, n, at, true, false); }
i64 sys_pwrite64(i32 fd, u64 from, u64 n, i64 at) { return move(fd, from, n, at, true, true); }

static i64 move_message(struct file *f, u64 vector, u64 count, bool write) {
    struct iovec *v = kmalloc(MAX(count, 1) * sizeof *v);
    i64 moved = v ? copy_in(v, vector, count * sizeof *v) : -ENOMEM;
    u64 size = 0;

    for (u64 i = 0; !moved && i < count; i++)
        size |= v[i].length;
    f->refs++;
    if (!moved && size)                 /* without a byte there is no message, other than by write() */
        moved = f->ops->message(f, v, count, write);
    file_put(f);
    kfree(v);
    return moved;
}

/* `at` < 0: at the file's own position. */
static i64 move_vector(i32 fd, u64 vector, u64 count, i64 at, bool write) {
    struct file *f = file_at(fd);
    i64 done = 0;

    if (count > IOV_MAX)
        return -EINVAL;
    if (!f)
        return -EBADF;
    if (f->ops->message && at < 0)
        return move_message(f, vector, count, write);
    for (u64 i = 0; i < count; i++) {
        struct iovec v;
        if (copy_in(&v, vector + i * sizeof v, sizeof v))
            return done ? done : -EFAULT;
        if (!v.length)
            continue;
        i64 moved = move(fd, v.base, v.length, at + done, at >= 0, write);
        if (moved < 0)
            return done ? done : moved;
        done += moved;
        if ((u64)moved < v.length)
            break;
    }
    return done;
}

i64 sys_readv(i32 fd, u64 vector, u64 count) { return move_vector(fd, vector, count, -1, false); }
i64 sys_writev(i32 fd, u64 vector, u64 count) { return move_vector(fd, vector, count, -1, true); }
i64 sys_preadv(i32 fd, u64 vector, u64 count, i64 at) {
    return at < 0 ? -EINVAL : move_vector(fd, vector, count, at, false);
}
i64 sys_pwritev(i32 fd, u64 vector, u64 count, i64 at) {
    return at < 0 ? -EINVAL : move_vector(fd, vector, count, at, true);
}

i64 sys_lseek(i32 fd, i64 offset, u32 whence) {
    struct file *f = file_at(fd);
    i64 size;

    if (!f)
        return -EBADF;
    if (f->ops->stream)
        return f->inode->rdev && (f->inode->mode & S_IFMT) == S_IFCHR && f->ops->ioctl == NULL ? 0 : -ESPIPE;
    size = (i64)f->inode->size;
    switch (whence) {
    case SEEK_SET:
        break;
    case SEEK_CUR:
        offset += (i64)f->position;
        break;
    case SEEK_END:
        offset += size;
        break;
    case SEEK_DATA: case SEEK_HOLE:             /* no holes but the one behind the end */
        if (offset < 0 || offset >= size)
            return -ENXIO;
        offset = whence == SEEK_DATA ? offset : size;
        break;
    default:
        return -EINVAL;
    }
    if (offset < 0)
        return -EINVAL;
    f->position = (u64)offset;
    return offset;
}

/* Through one page of the kernel's; a regular file's pages need no more. */
static i64 send(struct file *out, struct file *in, u64 *position, u64 n, u8 *page) {
    u64 done = 0;

    while (done < n) {
        i64 got = file_move(in, page, MIN(n - done, PAGE_SIZE), in->ops->stream ? done : *position, false);
        if (got <= 0)
            return done ? (i64)done : got;
        i64 put = file_write_all(out, page, (u64)got, out->ops->stream ? done : out->position);
        if (put < 0)
            return done ? (i64)done : put;
        *position += (u64)put;
        out->position += (u64)put;
        done += (u64)put;
        if (put < got || in->ops->stream)
            break;
    }
    return (i64)done;
}

/* Each offset is the file's own position (user pointer 0), or one that the caller keeps; a negative one is the error `negative`. */
static i64 send_between(struct file *out, u64 out_at, struct file *in, u64 in_at, u64 n, int negative) {
    u64 from = in->position, own = out->position, to = own;

    if ((in_at && copy_in(&from, in_at, sizeof from)) || (out_at && copy_in(&to, out_at, sizeof to)))
        return -EFAULT;
    if ((i64)from < 0 || (i64)to < 0)
        return -negative;
    u8 *page = page_alloc();
    if (!page)
        return -ENOMEM;
    out->position = to;
    in->refs++, out->refs++;
    i64 sent = send(out, in, &from, MIN(n, MAX_TRANSFER), page);
    if (sent > 0) {
        inotify_tell(in->inode, IN_ACCESS);
        inotify_tell(out->inode, IN_MODIFY);
    }
    page_put(physical(page));
    to = out->position;
    if (out_at)
        out->position = own;
    if (!in_at)
        in->position = from;
    file_put(in);
    file_put(out);
    if ((in_at && copy_out(in_at, &from, sizeof from)) || (out_at && copy_out(out_at, &to, sizeof to)))
        return -EFAULT;
    return sent;
}

i64 sys_sendfile(i32 out_fd, i32 in_fd, u64 offset, u64 n) {
    struct file *out = file_at(out_fd), *in = file_at(in_fd);

    if (!out || !in || !writable(out) || !readable(in))
        return -EBADF;
    if (!is_regular(in->inode) || !out->ops->write)
        return -EINVAL;
    return send_between(out, 0, in, offset, n, EINVAL);
}

i64 sys_copy_file_range(i32 in_fd, u64 in_offset, i32 out_fd, u64 out_offset, u64 n, u32 flags) {
    struct file *out = file_at(out_fd), *in = file_at(in_fd);

    if (!out || !in || !writable(out) || !readable(in) || out->flags & O_APPEND)
        return -EBADF;
    if (!is_regular(in->inode) || !is_regular(out->inode) || in->inode == out->inode || flags)
        return -EINVAL;
    return send_between(out, out_offset, in, in_offset, n, EOVERFLOW);
}

int resize_file(struct inode *i, u64 size) {
    int error = size > i->size && room_for(size - 1, 1) == TOO_LARGE ? -EFBIG : inode_truncate(i, size);

    if (!error)
        inotify_tell(i, IN_MODIFY);
    return error;
}

/* Memory is given when it is written; all there is to do is the size. */
i64 sys_fallocate(i32 fd, u32 mode, i64 offset, i64 n) {
    struct file *f = file_at(fd);

    if (!f || !writable(f))
        return -EBADF;
    if (offset < 0 || n <= 0)
        return -EINVAL;
    if (mode || !is_regular(f->inode))
        return mode ? -EOPNOTSUPP : -ENODEV;
    return (u64)(offset + n) > f->inode->size ? resize_file(f->inode, (u64)(offset + n)) : 0;
}

i64 sys_ftruncate(i32 fd, i64 size) {
    struct file *f = file_at(fd);

    if (!f)
        return -EBADF;
    if (size < 0 || !writable(f) || !is_regular(f->inode))
        return -EINVAL;
    return resize_file(f->inode, (u64)size);
}

/* Whatever was written is there already. */
i64 sys_fsync(i32 fd) {
    const struct file *f = file_at(fd);

    return !f ? -EBADF : f->ops == &regular_ops || f->ops == &directory_ops ? 0 : -EINVAL;
}
i64 sys_fdatasync(i32 fd) { return sys_fsync(fd); }
i64 sys_sync(void) { return 0; }
i64 sys_fadvise64(i32 fd, i64 offset, i64 n, i32 advice) {
    (void)offset;
    return !file_at(fd) ? -EBADF : n < 0 || advice < 0 || advice > POSIX_FADV_NOREUSE ? -EINVAL : 0;
}
