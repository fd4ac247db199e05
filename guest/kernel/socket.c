/* Socket pairs: two rings, one for each way.  A datagram goes in with its length before it. */
#include "inode.h"
#include "kernel.h"
#include "pipe.h"
#include "process.h"
#include "rights.h"
#include "slab.h"
#include "syscalls.h"
#include "vm.h"

#define AF_UNIX 1
#define SOCK_STREAM 1
#define SOCK_DGRAM 2
#define SOCK_SEQPACKET 5
#define SOCK_PACKET 10          /* the last there is */
#define SOCK_TYPE 15
#define SHUT_RD 0
#define SHUT_RDWR 2
#define MSG_PEEK 2
#define MSG_TRUNC 0x20
#define MSG_DONTWAIT 0x40
#define MSG_NOSIGNAL 0x4000
#define MSG_CMSG_CLOEXEC 0x40000000
#define SOL_SOCKET 1
#define SO_TYPE 3
#define SO_ERROR 4
#define SO_SNDBUF 7
#define SO_RCVBUF 8
#define SO_DOMAIN 39
#define MESSAGE_MAX 32768UL

struct socket {
    struct pipe *in, *out;      /* the other's out and in */
    struct socket *peer;        /* NULL once it is closed */
    u32 type;
};

static struct socket *socket_of(const struct file *f) { return f->own; }

static bool take_message(struct socket *s, u8 *to, u64 n, u64 *got, u32 *size_sent) {
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
    file_changed(s->in);
    return true;
}

static i64 read_message(struct socket *s, u8 *to, u64 n, bool wait, u32 *size) {
    u64 got;

    if (take_message(s, to, n, &got, size))
        return (i64)got;
    if (!s->in->writers && (s->type == SOCK_SEQPACKET || !s->in->readers))
        return 0;
    return !wait ? -EAGAIN : sleep_and_look(s->in);
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
        return !wait ? -EAGAIN : sleep_and_look(s->out);
    pipe_put(s->out, (u8 *)&size, sizeof size);
    pipe_put(s->out, from, n);
    file_changed(s->out);
    return (i64)n;
}

/* `*size`: of the message, of which `n` bytes may be less. */
static i64 receive(struct socket *s, u8 *to, u64 n, bool wait, u32 *size) {
    *size = 0;
    return s->type == SOCK_STREAM ? pipe_read(s->in, to, n, wait) : read_message(s, to, n, wait, size);
}

static i64 transmit(struct socket *s, const u8 *from, u64 n, bool wait, bool loud) {
    if (s->type != SOCK_STREAM)
        return write_message(s, from, n, wait, loud);
    return !loud && !s->out->readers ? -EPIPE : pipe_write(s->out, from, n, 1, wait);
}

static i64 socket_read(struct file *f, u8 *to, u64 n, u64 moved) {
    u32 size;
    i64 got;

    if (moved && socket_of(f)->type != SOCK_STREAM)
        return 0;                       /* a message is read by one call */
    got = receive(socket_of(f), to, n, !moved && !(f->flags & O_NONBLOCK), &size);
    return moved && got == -EAGAIN ? 0 : got;
}

static i64 socket_write(struct file *f, const u8 *from, u64 n, u64 moved) {
    (void)moved;
    return transmit(socket_of(f), from, n, !(f->flags & O_NONBLOCK), true);
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

static u64 socket_news(struct file *f) {
    return pipe_news(socket_of(f)->in, true, false) + pipe_news(socket_of(f)->out, false, true);
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

static const struct file_ops socket_ops = {
    .read = socket_read, .write = socket_write, .ioctl = socket_ioctl, .poll = socket_poll, .news = socket_news, .release = socket_release,
    .stream = true, .whole = true,
};

static struct file *open_socket(struct socket *s, u32 flags) {
    struct inode *i = inode_new(S_IFSOCK | 0777);
    struct file *f = i ? file_open(i, O_RDWR | (flags & O_NONBLOCK)) : NULL;

    if (i)
        inode_put(i);
    if (f) {
        f->ops = &socket_ops;
        f->own = s;
    }
    return f;
}

static i64 make_pair(struct file *ends[2], u32 type, u32 flags) {
    struct pipe *a = pipe_new(), *b = pipe_new();
    struct socket *s = kmalloc(sizeof *s), *t = kmalloc(sizeof *t);

    if (!a || !b || !s || !t || !(ends[0] = open_socket(s, flags)) || !(ends[1] = open_socket(t, flags))) {
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

static i64 socket_at(i32 fd, struct file **f) {
    *f = file_at(fd);
    return !*f ? -EBADF : (*f)->ops == &socket_ops ? 0 : -ENOTSOCK;
}

i64 sys_shutdown(i32 fd, u32 how) {
    struct file *f;
    i64 error = socket_at(fd, &f);

    if (error || how > SHUT_RDWR)
        return error ? error : -EINVAL;
    struct socket *s = socket_of(f);
    if (how != 1)
        s->in->readers = s->in->writers = 0;
    if (how != SHUT_RD)
        s->out->writers = s->out->readers = 0;
    file_changed(s->in);
    file_changed(s->out);
    return 0;
}

static i64 send_all(struct socket *s, const u8 *from, u64 n, bool wait, bool loud) {
    u64 done = 0;
    i64 moved;

    do {
        moved = transmit(s, from + done, n - done, wait, loud);
        done += moved > 0 ? (u64)moved : 0;
    } while (moved == -ELOOK || (moved > 0 && done < n));
    return done ? (i64)done : moved;
}

static i64 receive_some(struct socket *s, u8 *to, u64 n, bool wait, bool peek, u32 *sent) {
    u64 tail;
    i64 got;

    do {
        tail = s->in->tail;
        got = receive(s, to, n, wait, sent);
    } while (got == -ELOOK);
    if (peek)
        s->in->tail = tail;
    return got;
}

/* One message through a buffer of the kernel's. */
static i64 move_message(struct file *f, const struct iovec *v, u64 count, u32 flags, bool send, bool *truncated) {
    u32 sent = 0;
    bool wait = !(flags & MSG_DONTWAIT) && !(f->flags & O_NONBLOCK);
    u64 size = 0, at = 0;
    i64 result = 0;

    for (u64 i = 0; i < count; i++)
        size += v[i].length;
    size = MIN(size, PIPE_SIZE);
    u8 *buffer = kmalloc(size + 1);
    if (!buffer)
        return -ENOMEM;
    for (u64 i = 0; send && i < count && at < size && !result; at += v[i++].length)
        result = copy_in(buffer + at, v[i].base, MIN(v[i].length, size - at));
    if (!result)
        result = send ? send_all(socket_of(f), buffer, size, wait, !(flags & MSG_NOSIGNAL))
                      : receive_some(socket_of(f), buffer, size, wait, flags & MSG_PEEK, &sent);
    *truncated = sent > size;
    at = 0;
    for (u64 i = 0; !send && i < count && result > 0 && at < (u64)result; at += v[i++].length)
        if (copy_out(v[i].base, buffer + at, MIN(v[i].length, (u64)result - at)))
            result = -EFAULT;
    kfree(buffer);
    return result >= 0 && *truncated && flags & MSG_TRUNC ? sent : result;
}

static i64 move_one(i32 fd, u64 at, u64 n, u32 flags, bool send) {
    struct iovec v = {at, n};
    bool truncated;
    struct file *f;
    i64 error = socket_at(fd, &f);

    if (error)
        return error;
    f->refs++;
    i64 moved = move_message(f, &v, 1, flags, send, &truncated);
    file_put(f);
    return moved;
}

i64 sys_sendto(i32 fd, u64 from, u64 n, u32 flags, u64 address, u32 size) {
    (void)size;
    return address ? -EISCONN : move_one(fd, from, n, flags, true);
}

i64 sys_recvfrom(i32 fd, u64 to, u64 n, u32 flags, u64 address, u64 size) {
    u32 none = 0;

    if (address && size && copy_out(size, &none, sizeof none))
        return -EFAULT;
    return move_one(fd, to, n, flags, false);
}

struct msghdr { u64 name; u32 name_size, pad; u64 vector, count, control, control_size; u32 flags, pad2; };

static i64 move_header(struct file *f, u64 header, u32 flags, bool send) {
    struct iovec v[16];
    struct msghdr m;
    bool truncated = false;
    i64 error;

    if (copy_in(&m, header, sizeof m))
        return -EFAULT;
    if (m.count > COUNT(v))
        return m.count > IOV_MAX ? -EMSGSIZE : -EOPNOTSUPP;
    if (copy_in(v, m.vector, m.count * sizeof *v))
        return -EFAULT;
    struct socket *s = socket_of(f);
    if (send && m.control_size && (error = rights_send(s->out, m.control, m.control_size)))
        return error;
    i64 moved = move_message(f, v, m.count, flags, send, &truncated);
    if (send && moved <= 0)
        rights_drop(s->out, s->out->head);
    if (send || moved < 0)
        return moved;
    m.name_size = 0;
    m.flags = truncated ? MSG_TRUNC : 0;
    if ((error = rights_receive(s->in, m.control, &m.control_size, flags & MSG_CMSG_CLOEXEC)))
        return error;
    return copy_out(header, &m, sizeof m) ? -EFAULT : moved;
}

static i64 move_at(i32 fd, u64 header, u32 flags, bool send) {
    struct file *f;
    i64 error = socket_at(fd, &f);

    if (error)
        return error;
    f->refs++;
    i64 moved = move_header(f, header, flags, send);
    file_put(f);
    return moved;
}

i64 sys_sendmsg(i32 fd, u64 header, u32 flags) { return move_at(fd, header, flags, true); }
i64 sys_recvmsg(i32 fd, u64 header, u32 flags) { return move_at(fd, header, flags, false); }

i64 sys_getsockopt(i32 fd, u32 level, u32 option, u64 to, u64 size) {
    struct file *f;
    u32 room;
    i64 error = socket_at(fd, &f);

    if (error)
        return error;
    if (copy_in(&room, size, sizeof room))
        return -EFAULT;
    if (level != SOL_SOCKET || room < 4)
        return level == SOL_SOCKET ? -EINVAL : -EOPNOTSUPP;
    u32 value = option == SO_TYPE ? socket_of(f)->type : option == SO_DOMAIN ? AF_UNIX
              : option == SO_SNDBUF || option == SO_RCVBUF ? (u32)PIPE_SIZE : 0;
    u32 four = 4;
    if (option != SO_TYPE && option != SO_ERROR && option != SO_SNDBUF && option != SO_RCVBUF && option != SO_DOMAIN)
        return -ENOPROTOOPT;
    return copy_out(to, &value, sizeof value) || copy_out(size, &four, sizeof four) ? -EFAULT : 0;
}

i64 sys_setsockopt(i32 fd, u32 level, u32 option, u64 from, u32 size) {
    struct file *f;

    (void)option, (void)from, (void)size;
    i64 error = socket_at(fd, &f);
    return error ? error : level == SOL_SOCKET ? 0 : -EOPNOTSUPP;
}
