/* send, recv and their kin: bytes between the program's pieces of memory and a socket. */
#include "control.h"
#include "ipc/pipe.h"
#include "kernel.h"
#include "mm/slab.h"
#include "mm/vm.h"
#include "rights.h"
#include "socket.h"
#include "syscall/syscalls.h"
#include "task/process.h"
#include "time/time.h"

#define CHUNK 65536UL           /* of a stream, through a buffer of the kernel's */
#define MESSAGE_MOST (1UL << 20) /* any family's limit is below */
#define TRANSFER_MAX 0x7ffff000UL
#define MESSAGES_MAX 1024U      /* of sendmmsg and recvmmsg */
#define MSG_OOB 1U
#define MSG_ERRQUEUE 0x2000U
#define MSG_WAITFORONE 0x10000U

struct call {
    struct file *file;
    const struct iovec *pieces;
    u64 count, size;            /* of the pieces; of all together */
    u32 flags, told;            /* MSG_*: asked, and answered */
    struct address *name;       /* whom to; of whom it is.  NULL: not given, not asked */
    struct control control;
};

#define NOTHING {.hops = -1, .class = -1}

static bool may_wait(const struct call *c) { return !(c->flags & MSG_DONTWAIT) && !(c->file->flags & O_NONBLOCK); }

/* n bytes of the pieces, from `at` on. */
static int move_pieces(const struct call *c, u64 at, u8 *bytes, u64 n, bool in) {
    for (u64 i = 0; i < c->count && n; i++) {
        const struct iovec *v = &c->pieces[i];
        if (at >= v->length) {
            at -= v->length;
            continue;
        }
        u64 part = MIN(n, v->length - at);
        if (in ? copy_in(bytes, v->base + at, part) : copy_out(v->base + at, bytes, part))
            return -EFAULT;
        bytes += part;
        n -= part;
        at = 0;
    }
    return 0;
}

static i64 send_chunk(struct call *c, const u8 *from, u64 n) {
    u64 done = 0;
    i64 put;

    do {
        put = stream_send(socket_of(c->file), from + done, n - done, may_wait(c), !(c->flags & MSG_NOSIGNAL), &c->control.rights);
        done += put > 0 ? (u64)put : 0;
    } while (put == -ERETRY || (put > 0 && done < n));
    return done ? (i64)done : put;
}

static i64 send_stream(struct call *c) {
    u64 done = 0, part;
    u8 *buffer = kmalloc(MIN(c->size, CHUNK) + 1);
    i64 put = buffer ? 0 : -ENOMEM;

    if (buffer)
        do {
            part = MIN(c->size - done, CHUNK);
            put = move_pieces(c, done, buffer, part, true);
            if (!put)
                put = send_chunk(c, buffer, part);
            done += put > 0 ? (u64)put : 0;
        } while (put > 0 && (u64)put == part && done < c->size);
    kfree(buffer);
    rights_drop(c->control.rights);
    return done ? (i64)done : put;
}

static i64 receive_stream(struct call *c) {
    struct socket *s = socket_of(c->file);
    bool all = c->flags & MSG_WAITALL && !(c->flags & MSG_PEEK);
    u64 done = 0;
    u8 *buffer = kmalloc(MIN(c->size, CHUNK) + 1);
    i64 got;

    if (!buffer)
        return -ENOMEM;
    do {
        got = stream_receive(s, buffer, MIN(c->size - done, CHUNK), may_wait(c) && (!done || all), c->flags & MSG_PEEK, &c->control.rights);
        if (got > 0 && move_pieces(c, done, buffer, (u64)got, false))
            got = -EFAULT;
        done += got > 0 ? (u64)got : 0;
    } while (got == -ERETRY || (got > 0 && done < c->size && !c->control.rights && !(c->flags & MSG_PEEK) && (all || pipe_used(s->in))));
    kfree(buffer);
    c->control.sender = s->peer_owner;
    if (c->name && is_local(s) && s->peer && s->peer->called.size)
        *c->name = s->peer->called;
    return done ? (i64)done : got;
}

static i64 send_message(struct call *c) {
    struct socket *s = socket_of(c->file);
    struct message *m = c->size > MESSAGE_MOST ? NULL : message_new(c->size);
    i64 error = c->size > MESSAGE_MOST ? -EMSGSIZE : m ? move_pieces(c, 0, m->bytes, c->size, true) : -ENOBUFS;

    if (m)
        m->rights = c->control.rights;
    else
        rights_drop(c->control.rights);
    if (m && c->control.has_sender)
        m->sender = c->control.sender;
    if (m && !is_local(s)) {
        control_complete(s, &c->control);
        m->hops = c->control.hops;
        m->class = c->control.class;
    }
    while (!error && (error = message_send(s, m, c->name, may_wait(c))) == -ERETRY)
        error = 0;
    if (error && m)
        message_free(m);
    if (error == -EPIPE && s->type == SOCK_SEQPACKET && !(c->flags & MSG_NOSIGNAL)) {
        struct siginfo info = {.signal = SIGPIPE, .pid = current->process->pid};
        signal_task(current, &info);
    }
    return error ? error : (i64)c->size;
}

static i64 receive_message(struct call *c) {
    struct socket *s = socket_of(c->file);
    struct message *m;
    i64 error;

    do
        error = message_receive(s, &m, may_wait(c));
    while (error == -ERETRY);
    if (error || !m)
        return error;
    u64 n = MIN(c->size, m->size), size = m->size;
    if (!is_local(s) && m->source.port)
        inet_name_source(s, m);
    if (c->name && m->from.size > LOCAL_HEAD && !is_connected_type(s))
        *c->name = m->from;
    c->control.sender = m->sender;
    c->control.hops = m->hops;
    c->control.class = m->class;
    error = move_pieces(c, 0, m->bytes, n, false);
    c->told |= size > c->size ? MSG_TRUNC : 0;
    if (!(c->flags & MSG_PEEK)) {
        c->control.rights = m->rights;
        m->rights = NULL;
        message_done(s);
    }
    return error ? error : c->flags & MSG_TRUNC ? (i64)size : (i64)n;
}

static i64 move(struct call *c, bool send) {
    struct socket *s = socket_of(c->file);

    if (c->flags & MSG_OOB)
        return -EOPNOTSUPP;
    if (send && c->name && is_local(s) && is_stream(s))
        return s->state == SOCKET_CONNECTED ? -EISCONN : -EOPNOTSUPP;
    if (send)
        return is_stream(s) ? send_stream(c) : send_message(c);
    if (c->flags & MSG_ERRQUEUE)
        return -EAGAIN;
    return is_stream(s) ? receive_stream(c) : receive_message(c);
}

static i64 measure(struct call *c) {
    c->size = 0;
    for (u64 i = 0; i < c->count; i++) {
        if (c->pieces[i].length > TRANSFER_MAX)
            return -EINVAL;
        c->size += c->pieces[i].length;
    }
    c->size = MIN(c->size, TRANSFER_MAX);
    return 0;
}

/* read, write, readv and writev of messages. */
i64 socket_move(struct file *f, const struct iovec *pieces, u64 count, bool send) {
    struct call c = {.file = f, .pieces = pieces, .count = count, .control = NOTHING};
    i64 moved = measure(&c);

    if (!moved)
        moved = move(&c, send);
    rights_drop(send ? NULL : c.control.rights);
    return moved;
}

/* ---- sendto, recvfrom ---- */

static i64 begin(struct call *c, i32 fd, u32 flags) {
    *c = (struct call){.flags = flags, .control = NOTHING};
    i64 error = socket_at(fd, &c->file);
    if (!error)
        c->file->refs++;                /* another thread may close it meanwhile */
    return error;
}

i64 sys_sendto(i32 fd, u64 from, u64 n, u32 flags, u64 address, u32 size) {
    struct iovec piece = {from, MIN(n, TRANSFER_MAX)};
    struct address to;
    struct call c;
    i64 result = begin(&c, fd, flags);

    if (result)
        return result;
    c.pieces = &piece;
    c.count = 1;
    c.size = piece.length;
    if (address) {
        result = address_in(&to, address, size);
        c.name = &to;
    }
    if (!result)
        result = move(&c, true);
    file_put(c.file);
    return result;
}

i64 sys_recvfrom(i32 fd, u64 to, u64 n, u32 flags, u64 address, u64 size) {
    struct iovec piece = {to, MIN(n, TRANSFER_MAX)};
    struct address from = {.size = 0};
    struct call c;
    i64 result = begin(&c, fd, flags);

    if (result)
        return result;
    c.pieces = &piece;
    c.count = 1;
    c.size = piece.length;
    c.name = &from;
    result = move(&c, false);
    rights_drop(c.control.rights);
    i64 error = result >= 0 && address ? address_out(&from, address, size) : 0;
    file_put(c.file);
    return error ? error : result;
}

/* ---- sendmsg, recvmsg ---- */

struct msghdr { u64 name; u32 name_size, pad; u64 vector, count, control, control_size; u32 flags, pad2; };
struct mmsghdr { struct msghdr header; u32 size, pad; };

static i64 send_header(struct call *c, const struct msghdr *m) {
    struct address to;
    i64 error = m->name && m->name_size ? address_in(&to, m->name, m->name_size) : 0;

    if (m->name && m->name_size)
        c->name = &to;
    if (!error && m->control_size)
        error = control_in(&c->control, m->control, m->control_size);
    if (!error && c->control.rights && !is_local(socket_of(c->file))) {
        rights_drop(c->control.rights);         /* as Linux: ignored */
        c->control.rights = NULL;
    }
    return error ? error : move(c, true);
}

static i64 receive_header(struct call *c, struct msghdr *m, u64 header) {
    struct address from = {.size = 0};
    u64 name_size = header + offsetof(struct msghdr, name_size);

    c->name = &from;
    c->told = c->flags & MSG_CMSG_CLOEXEC;
    i64 moved = move(c, false), error = 0;
    if (moved < 0) {
        rights_drop(c->control.rights);
        return moved;
    }
    error = control_out(socket_of(c->file), &c->control, m->control, &m->control_size, &c->told);
    if (!error && m->name)
        error = address_out(&from, m->name, name_size);
    if (!error && (copy_out(header + offsetof(struct msghdr, control_size), &m->control_size, sizeof m->control_size) ||
                   copy_out(header + offsetof(struct msghdr, flags), &c->told, sizeof c->told)))
        error = -EFAULT;
    return error ? error : moved;
}

static i64 move_header(struct file *f, u64 header, u32 flags, bool send) {
    struct call c = {.file = f, .flags = flags, .control = NOTHING};
    struct iovec *v;
    struct msghdr m;

    if (copy_in(&m, header, sizeof m))
        return -EFAULT;
    if ((i32)m.name_size < 0 || m.count > IOV_MAX)
        return m.count > IOV_MAX ? -EMSGSIZE : -EINVAL;
    if (!(v = kmalloc(MAX(m.count, 1) * sizeof *v)))
        return -ENOMEM;
    i64 result = copy_in(v, m.vector, m.count * sizeof *v);
    c.pieces = v;
    c.count = m.count;
    if (!result)
        result = measure(&c);
    if (!result)
        result = send ? send_header(&c, &m) : receive_header(&c, &m, header);
    kfree(v);
    return result;
}

static i64 move_at(i32 fd, u64 header, u32 flags, bool send) {
    struct call c;
    i64 result = begin(&c, fd, flags);

    if (result)
        return result;
    result = move_header(c.file, header, flags, send);
    file_put(c.file);
    return result;
}

i64 sys_sendmsg(i32 fd, u64 header, u32 flags) { return move_at(fd, header, flags, true); }
i64 sys_recvmsg(i32 fd, u64 header, u32 flags) { return move_at(fd, header, flags, false); }

/* One after the other, until one cannot be moved; its reason counts only if it is the first. */
static i64 move_many(i32 fd, u64 headers, u32 count, u32 flags, bool send, u64 until) {
    struct call c;
    i64 result = begin(&c, fd, flags);
    u32 done = 0;

    if (result)
        return result;
    for (count = MIN(count, MESSAGES_MAX); done < count; done++) {
        u64 header = headers + done * sizeof(struct mmsghdr);
        result = move_header(c.file, header, flags & ~MSG_WAITFORONE, send);
        u32 size = (u32)result;
        if (result >= 0 && copy_out(header + offsetof(struct mmsghdr, size), &size, sizeof size))
            result = -EFAULT;
        if (result < 0)
            break;
        if (flags & MSG_WAITFORONE)
            flags |= MSG_DONTWAIT;
        if (now_ns() >= until) {
            done++;
            break;
        }
    }
    file_put(c.file);
    return done ? done : result;
}

i64 sys_sendmmsg(i32 fd, u64 headers, u32 count, u32 flags) { return move_many(fd, headers, count, flags, true, FOREVER); }

i64 sys_recvmmsg(i32 fd, u64 headers, u32 count, u32 flags, u64 timeout) {
    u64 until = FOREVER;
    i64 error = timeout ? deadline_of(timeout, &until) : 0;

    return error ? error : move_many(fd, headers, count, flags, false, until);
}
