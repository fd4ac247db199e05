/* Socket pairs: two rings, one for each way.  A datagram goes in with its length before it. */
#include "socket.h"

#include "fs/inode.h"
#include "ipc/pipe.h"
#include "kernel.h"
#include "mm/slab.h"
#include "mm/vm.h"
#include "rights.h"
#include "syscall/syscalls.h"
#include "task/process.h"

#define SOCK_STREAM 1
#define SOCK_DGRAM 2
#define SOCK_SEQPACKET 5
#define SOCK_PACKET 10          /* the last there is */
#define SOCK_TYPE 15
#define MESSAGE_MAX 32768UL

static bool take_message(struct socket *s, u8 *to, u64 n, bool peek, u64 *got, u32 *size_sent) {
    u64 tail = s->in->tail;
    u32 size;
    u8 lost[64];

    if (!pipe_take(s->in, (u8 *)&size, sizeof size))
        return false;
    u64 part = MIN(n, (u64)size);
    pipe_take(s->in, to, part);
    for (u64 left = size - part; left; left -= MIN(left, sizeof lost))
        pipe_take(s->in, lost, MIN(left, sizeof lost));
    *got = part;
    *size_sent = size;
    if (peek)
        s->in->tail = tail;
    else
        file_changed(s->in);
    return true;
}

static i64 read_message(struct socket *s, u8 *to, u64 n, bool wait, bool peek, u32 *size) {
    u64 got;

    if (take_message(s, to, n, peek, &got, size))
        return (i64)got;
    if (!s->in->writers && (s->type == SOCK_SEQPACKET || !s->in->readers))
        return 0;
    return !wait ? -EAGAIN : sleep_then_retry(s->in);
}

static i64 write_message(struct socket *s, const u8 *from, u64 n, bool wait, bool loud) {
    u32 size = (u32)n;

    if (n > MESSAGE_MAX)
        return -EMSGSIZE;
    if (!s->out->readers || !s->out->writers) {
        struct siginfo info = {.signal = SIGPIPE, .pid = current->process->pid};
        if (loud && s->type == SOCK_SEQPACKET)
            signal_task(current, &info);
        return s->out->writers && s->type == SOCK_DGRAM ? -ECONNREFUSED : -EPIPE;
    }
    if (PIPE_SIZE - (s->out->head - s->out->tail) < n + sizeof size)
        return !wait ? -EAGAIN : sleep_then_retry(s->out);
    if (!pipe_reserve(s->out, sizeof size + n))
        return -ENOMEM;                 /* a length alone would take the next message for its own */
    pipe_put(s->out, (u8 *)&size, sizeof size);
    pipe_put(s->out, from, n);
    file_changed(s->out);
    return (i64)n;
}

i64 socket_receive(struct socket *s, u8 *to, u64 n, bool wait, bool peek, u32 *size) {
    *size = 0;
    if (s->type != SOCK_STREAM)
        return read_message(s, to, n, wait, peek, size);
    i64 got = pipe_read(s->in, to, n, wait);
    if (peek && got > 0)
        s->in->tail -= (u64)got;
    return got;
}

void socket_drop_rights(struct socket *s) {
    u64 no_room = 0;

    rights_receive(s->in, 0, &no_room, false);
}

i64 socket_transmit(struct socket *s, const u8 *from, u64 n, bool wait, bool loud) {
    if (s->type != SOCK_STREAM)
        return write_message(s, from, n, wait, loud);
    return !loud && !s->out->readers ? -EPIPE : pipe_write(s->out, from, n, 1, wait);
}

static i64 socket_read(struct file *f, u8 *to, u64 n, u64 moved) {
    u32 size;
    i64 got;

    if (moved && socket_of(f)->type != SOCK_STREAM)
        return 0;                       /* a message is read by one call */
    got = socket_receive(socket_of(f), to, n, !moved && !(f->flags & O_NONBLOCK), false, &size);
    socket_drop_rights(socket_of(f));
    return moved && got == -EAGAIN ? 0 : got;
}

static i64 socket_write(struct file *f, const u8 *from, u64 n, u64 moved) {
    (void)moved;
    return socket_transmit(socket_of(f), from, n, !(f->flags & O_NONBLOCK), true);
}

static i16 socket_poll(struct file *f) {
    struct socket *s = socket_of(f);
    i16 events = pipe_poll(s->in, true, false) & (POLLIN | POLLRDNORM);
    bool no_more = !s->in->writers, all_over = !s->peer;

    if (no_more)
        events |= POLLIN | POLLRDNORM | POLLRDHUP;
    if (all_over && s->type != SOCK_DGRAM)
        events |= POLLHUP;
    return events | (pipe_poll(s->out, false, true) & (POLLOUT | POLLWRNORM)) | (all_over ? POLLOUT | POLLWRNORM : 0);
}

static u64 socket_poll_generation(struct file *f) {
    return pipe_poll_generation(socket_of(f)->in, true, false) + pipe_poll_generation(socket_of(f)->out, false, true);
}

static i64 socket_ioctl(struct file *f, u32 request, u64 argument) {
    struct socket *s = socket_of(f);
    i32 count = (i32)(s->in->head - s->in->tail);

    return request == FIONREAD ? copy_out(argument, &count, sizeof count) : -ENOTTY;
}

static void socket_release(struct file *f) {
    struct socket *s = socket_of(f);

    s->in->readers = s->out->writers = 0;
    file_changed(s->in);
    file_changed(s->out);
    if (s->peer) {
        s->peer->peer = NULL;
    } else {                            /* the last one takes the rings with it */
        pipe_free(s->in);
        pipe_free(s->out);
    }
    kfree(s);
}

#define SOCKET_OPS .read = socket_read, .write = socket_write, .ioctl = socket_ioctl, .poll = socket_poll, .poll_generation = socket_poll_generation, \
                   .release = socket_release, .stream = true, .whole = true
static const struct file_ops stream_ops = {SOCKET_OPS}, message_ops = {SOCKET_OPS, .vector = socket_move_vector};

bool is_socket(const struct file *f) { return f->ops->release == socket_release; }

static struct file *open_socket(struct socket *s, u32 type, u32 flags) {
    struct inode *i = inode_new(S_IFSOCK | 0777);
    struct file *f = i ? file_open(i, O_RDWR | (flags & O_NONBLOCK)) : NULL;

    if (i)
        inode_put(i);
    if (f) {
        f->ops = type == SOCK_STREAM ? &stream_ops : &message_ops;
        f->own = s;
    }
    return f;
}

static i64 make_pair(struct file *ends[2], u32 type, u32 flags) {
    struct pipe *a = pipe_new(), *b = pipe_new();
    struct socket *s = kmalloc(sizeof *s), *t = kmalloc(sizeof *t);

    ends[0] = ends[1] = NULL;
    if (!a || !b || !s || !t || !(ends[0] = open_socket(s, type, flags)) || !(ends[1] = open_socket(t, type, flags))) {
        if (ends[0])
            file_discard(ends[0]);
        kfree(a), kfree(b), kfree(s), kfree(t);
        return -ENOMEM;
    }
    a->readers = a->writers = a->opened_write = b->readers = b->writers = b->opened_write = 1;
    *s = (struct socket){a, b, t, type};
    *t = (struct socket){b, a, s, type};
    return 0;
}

i64 sys_socketpair(u32 family, u32 type, u32 protocol, u64 to) {
    u32 kind = type & SOCK_TYPE;
    struct file *ends[2];
    i32 fds[2];

    if (family != AF_UNIX)
        return -EAFNOSUPPORT;
    if (kind > SOCK_PACKET)
        return -EINVAL;
    if (kind != SOCK_STREAM && kind != SOCK_DGRAM && kind != SOCK_SEQPACKET)
        return -ESOCKTNOSUPPORT;
    if (protocol > 1)
        return -EPROTONOSUPPORT;
    i64 error = make_pair(ends, kind, type);
    if (error)
        return error;
    return fd_install_pair(ends[0], ends[1], type & O_CLOEXEC, fds) ? -EMFILE : copy_out_pair(to, fds);
}

/* There is no network, and no names for local sockets. */
i64 sys_socket(u32 family, u32 type, u32 protocol) {
    (void)family, (void)type, (void)protocol;
    return -EAFNOSUPPORT;
}
