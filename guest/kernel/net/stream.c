/* Streams: two rings between two sockets of a machine, for local ones and for TCP.  TCP on the way back to its own machine
 * loses nothing and changes no order, so of its segments only what a program can tell is here: the resets. */
#include "ipc/pipe.h"
#include "kernel.h"
#include "mm/slab.h"
#include "rights.h"
#include "socket.h"
#include "task/process.h"

#define LOCAL_PAGES 64UL                /* 256 KiB each way; TCP has more on the way */
#define TCP_PAGES 256UL

i64 stream_pair(struct socket *s, struct socket *t) {
    u64 pages = is_local(s) ? LOCAL_PAGES : TCP_PAGES;
    struct pipe *a = pipe_new(pages), *b = pipe_new(pages);

    if (!a || !b) {
        if (a)
            pipe_free(a);
        if (b)
            pipe_free(b);
        return -ENOMEM;
    }
    a->readers = a->writers = a->opened_write = b->readers = b->writers = b->opened_write = 1;
    s->in = t->out = a;
    s->out = t->in = b;
    return 0;
}

static i64 not_connected(const struct socket *s, bool send) {
    return is_local(s) ? (send ? -ENOTCONN : -EINVAL) : s->state == SOCKET_CALLING ? -EAGAIN : send ? -EPIPE : -ENOTCONN;
}

static i64 broken_pipe(bool loud) {
    struct siginfo info = {.signal = SIGPIPE, .pid = current->process->pid};

    if (loud)
        signal_task(current, &info);
    return -EPIPE;
}

/* A peer that is closed answers the first bytes with a reset: they are lost, and whoever comes next is told. */
static bool is_swallowed(struct socket *s, u64 n) {
    if (is_local(s) || s->peer || s->broken || !s->out->writers)
        return false;
    if (!n)
        return true;
    s->error = EPIPE;
    s->broken = true;
    s->in->writers = 0;
    file_changed(s->in);
    return true;
}

i64 stream_send(struct socket *s, const u8 *from, u64 n, bool wait, bool loud, struct rights **rights) {
    if (!s->out) {
        i64 error = s->error ? socket_take_error(s) : not_connected(s, true);
        return error == -EPIPE ? broken_pipe(loud) : error;
    }
    if (s->error && !is_local(s)) {
        i64 error = socket_take_error(s);
        return error == -EPIPE ? broken_pipe(loud) : error;
    }
    if (!s->out->readers)
        return is_swallowed(s, n) ? (i64)n : broken_pipe(loud);
    u64 before = s->out->head;
    i64 put = pipe_write(s->out, from, n, 1, false);
    if (put == -EAGAIN && wait)
        return socket_wait(s->out, s->send_timeout);
    if (put > 0 && rights && *rights) {
        struct rights **last = &s->out->rights;
        while (*last)
            last = &(*last)->next;
        (*rights)->at = before;
        (*rights)->end = s->out->head;
        *last = *rights;
        *rights = NULL;
    }
    return put;
}

/* The bytes up to the end of the first message that has files with it. */
static u64 within(const struct pipe *p, u64 n) { return p->rights ? MIN(n, p->rights->end - p->tail) : n; }

i64 stream_receive(struct socket *s, u8 *to, u64 n, bool wait, bool peek, struct rights **rights) {
    if (!s->in)
        return s->error ? socket_take_error(s) : not_connected(s, false);
    struct pipe *p = s->in;
    if (n && !pipe_used(p)) {
        if (s->error && s->error != EPIPE)
            return socket_take_error(s);
        return !p->writers ? 0 : !wait ? -EAGAIN : socket_wait(p, s->receive_timeout);
    }
    i64 got = peek ? (i64)pipe_peek(p, to, within(p, n)) : pipe_read(p, to, within(p, n), false);
    if (!peek && got > 0 && p->rights && p->rights->at < p->tail)
        *rights = rights_next(&p->rights);
    return got;
}

void stream_shut(struct socket *s, bool in, bool out) {
    if (in)
        s->in->readers = s->in->writers = 0;
    if (out)
        s->out->writers = s->out->readers = 0;
    file_changed(s->in);
    file_changed(s->out);
}

/* What was not read was lost, and the peer is told; the last one takes the rings with it. */
void stream_end(struct socket *s) {
    bool lost = pipe_used(s->in) || s->listener || (!is_local(s) && s->linger.on && !s->linger.seconds);

    s->in->readers = s->out->writers = 0;
    if (!s->peer) {
        pipe_free(s->in);
        pipe_free(s->out);
        return;
    }
    if (lost) {
        s->peer->error = ECONNRESET;
        s->peer->broken = true;
    }
    file_changed(s->in);
    file_changed(s->out);
}

i16 stream_poll(const struct socket *s) {
    i16 events = s->error ? POLLERR : 0, out = POLLOUT | POLLWRNORM | (is_local(s) ? POLLWRBAND : 0);

    if (!s->in)
        return events | (s->state == SOCKET_CALLING ? 0 : s->error ? POLLIN | POLLRDNORM | POLLRDHUP | POLLHUP | out : POLLHUP | out);
    bool no_more = !s->in->writers, mute = !s->out->writers || s->broken || (is_local(s) && !s->out->readers);
    events |= pipe_poll(s->in, true, false) & (POLLIN | POLLRDNORM);
    if (mute || pipe_poll(s->out, false, true) & POLLOUT)
        events |= out;
    if (no_more)
        events |= POLLIN | POLLRDNORM | POLLRDHUP;
    return events | (no_more && mute ? POLLHUP : 0);
}
