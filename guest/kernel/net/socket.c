/* Sockets as files, from their making to their end. */
#include "socket.h"

#include "fs/inode.h"
#include "ipc/pipe.h"
#include "kernel.h"
#include "mm/slab.h"
#include "mm/vm.h"
#include "rights.h"
#include "task/process.h"
#include "time/time.h"

struct socket *all_sockets;

struct credentials own_credentials(void) {
    const struct process *p = current->process;

    return (struct credentials){p->pid, p->uid.effective, p->gid.effective};
}

i64 socket_take_error(struct socket *s) {
    i32 error = s->error;

    s->error = 0;
    return -error;
}

/* A call with a time limit is not begun anew after a signal. */
i64 socket_wait(const void *channel, u64 timeout) {
    int error = sleep_on(channel, timeout ? now_ns() + timeout : FOREVER);

    return !error ? -ERETRY : error == -ETIMEDOUT ? -EAGAIN : timeout ? -EINTR : -ERESTART;
}

struct socket *socket_new(const struct family *family, u32 type, u32 protocol) {
    struct socket *s = kmalloc(sizeof *s);

    if (!s)
        return NULL;
    *s = (struct socket){.family = family, .type = type, .protocol = protocol, .next = all_sockets, .owner = own_credentials()};
    socket_options_init(s->option);
    return all_sockets = s;
}

/* Those who have it for their peer learn that it is gone. */
void socket_end(struct socket *s) {
    struct socket **at = &all_sockets;

    while (*at != s)
        at = &(*at)->next;
    *at = s->next;
    listener_end(s);
    caller_ends(s);
    if (s->in)
        stream_end(s);
    messages_end(s);
    for (struct socket *o = all_sockets; o; o = o->next)
        if (o->peer == s) {
            o->peer = NULL;
            o->peer_is_gone = true;
            if (is_local(o))
                o->peer_was = s->called;
            file_changed(o);
        }
    if (s->family->forget)
        s->family->forget(s);
    file_changed(s);                    /* who waited for room in it, too */
    kfree(s);
}

/* ---- as files ---- */

static bool may_wait(const struct file *f) { return !(f->flags & O_NONBLOCK); }

static i64 stream_file_read(struct file *f, u8 *to, u64 n, u64 moved) {
    struct rights *rights = NULL;
    i64 got = stream_receive(socket_of(f), to, n, !moved && may_wait(f), false, &rights);

    rights_drop(rights);                /* who does not ask for the files that came with the bytes loses them */
    return moved && got == -EAGAIN ? 0 : got;
}

static i64 stream_file_write(struct file *f, const u8 *from, u64 n, u64 moved) {
    i64 put = stream_send(socket_of(f), from, n, may_wait(f), true, NULL);

    return moved && put == -EAGAIN ? 0 : put;
}

/* From the kernel's own memory: sendfile. */
static i64 message_file_write(struct file *f, const u8 *from, u64 n, u64 moved) {
    struct message *m = moved ? NULL : message_new(n);

    if (!m)
        return moved ? 0 : -ENOMEM;
    memcpy(m->bytes, from, n);
    i64 error = message_send(socket_of(f), m, NULL, may_wait(f));
    if (error)
        message_free(m);
    return error ? error : (i64)n;
}

static i64 message_file_read(struct file *f, u8 *to, u64 n, u64 moved) {
    struct message *m = NULL;
    i64 error = moved ? 0 : message_receive(socket_of(f), &m, may_wait(f));

    if (error || !m)
        return error;
    n = MIN(n, m->size);
    memcpy(to, m->bytes, n);
    message_done(socket_of(f));
    return (i64)n;
}

static i16 socket_poll(struct file *f) {
    const struct socket *s = socket_of(f);

    if (s->state == SOCKET_LISTENING)
        return s->backlog ? POLLIN | POLLRDNORM : 0;
    return is_stream(s) ? stream_poll(s) : messages_poll(s);
}

static u64 socket_poll_generation(struct file *f) {
    const struct socket *s = socket_of(f);

    return s->arrivals + (s->in ? pipe_poll_generation(s->in, true, false) + pipe_poll_generation(s->out, false, true) : 0);
}

static void socket_release(struct file *f) { socket_end(socket_of(f)); }

#define SOCKET_OPS .ioctl = socket_ioctl, .poll = socket_poll, .poll_generation = socket_poll_generation, .release = socket_release, \
                   .stream = true, .whole = true
static const struct file_ops stream_ops = {SOCKET_OPS, .read = stream_file_read, .write = stream_file_write};
static const struct file_ops message_ops = {SOCKET_OPS, .read = message_file_read, .write = message_file_write, .message = socket_move};

bool is_socket(const struct file *f) { return f->ops->release == socket_release; }

struct file *socket_file(struct socket *s, u32 flags) {
    struct inode *i = inode_new(S_IFSOCK | 0777);
    struct file *f = i ? file_open(i, O_RDWR | (flags & O_NONBLOCK)) : NULL;

    if (i)
        inode_put(i);
    if (f) {
        f->ops = is_stream(s) ? &stream_ops : &message_ops;
        f->own = s;
        s->number = f->inode->number;
    }
    return f;
}

i64 socket_at(i32 fd, struct file **f) {
    *f = file_at(fd);
    return !*f || (*f)->flags & O_PATH ? -EBADF : is_socket(*f) ? 0 : -ENOTSOCK;
}
