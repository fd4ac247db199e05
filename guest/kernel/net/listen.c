/* Connections: a caller meets a listener.
 *
 *   connect() ──► backlog of the listener, already connected ──► accept()
 *        └──────► callers, while the backlog is full ─────┘
 */
#include "kernel.h"
#include "mm/slab.h"
#include "socket.h"
#include "task/process.h"

static void append(struct socket **line, struct socket *s) {
    while (*line)
        line = &(*line)->next_in_line;
    s->next_in_line = NULL;
    *line = s;
}

static void leave_line(struct socket **line, const struct socket *s) {
    while (*line && *line != s)
        line = &(*line)->next_in_line;
    if (*line)
        *line = s->next_in_line;
}

static void inherit(struct socket *t, const struct socket *listener) {
    memcpy(t->option, listener->option, sizeof t->option);
    t->linger = listener->linger;
    t->receive_timeout = listener->receive_timeout;
    t->send_timeout = listener->send_timeout;
    t->owner = listener->owner;
}

/* Make the server's end, and put it in the backlog. */
static i64 join(struct socket *s, struct socket *listener) {
    struct socket *t = socket_new(listener->family, s->type, s->protocol);

    if (!t || (is_stream(s) && stream_pair(s, t))) {
        if (t)
            socket_end(t);
        return -ENOMEM;
    }
    inherit(t, listener);
    s->peer = t;
    t->peer = s;
    s->state = t->state = SOCKET_CONNECTED;
    s->peer_owner = listener->owner;
    t->peer_owner = s->owner;
    s->family->join(s, t, listener);
    t->listener = listener;
    append(&listener->backlog, t);
    listener->in_line++;
    listener->arrivals++;
    s->arrivals++;
    file_changed(listener);
    file_changed(s);
    return 0;
}

static i64 begin_call(struct socket *s, const struct address *a, bool wait) {
    struct socket *listener = NULL;
    i64 error = s->family->find(s, a, &listener);

    if (error)
        return error;
    s->owner = own_credentials();
    if (!listener)
        error = -ECONNREFUSED;
    else if (listener->in_line < listener->room)
        error = join(s, listener);
    else if (is_local(s))
        return wait ? socket_wait(listener, s->send_timeout) : -EAGAIN;
    else {
        s->state = SOCKET_CALLING;
        s->listener = listener;
        append(&listener->callers, s);
    }
    if (is_local(s) || wait || (error && error != -ECONNREFUSED))
        return error;
    s->error = (i32)-error;             /* TCP tells what became of it afterwards */
    s->unannounced = true;
    return -EINPROGRESS;
}

/* The call was under way when this one came. */
static i64 go_on(struct socket *s, bool wait) {
    if (s->state == SOCKET_FRESH) {
        s->unannounced = false;
        return s->error ? socket_take_error(s) : -ECONNABORTED;         /* getsockopt() has told why */
    }
    if (s->state == SOCKET_CONNECTED) {
        s->unannounced = false;
        return 0;
    }
    return wait ? socket_wait(s, s->send_timeout) : -EALREADY;
}

i64 socket_call(struct socket *s, const struct address *a, bool wait) {
    i64 error;

    if (s->state == SOCKET_LISTENING)
        return is_local(s) ? -EINVAL : -EISCONN;
    if (s->state == SOCKET_CONNECTED && !s->unannounced) {
        struct socket *listener;
        error = is_local(s) ? s->family->find(s, a, &listener) : 0;
        return error ? error : -EISCONN;
    }
    if (s->state == SOCKET_FRESH && !s->unannounced) {
        do
            error = begin_call(s, a, wait);
        while (error == -ERETRY);
        if (error || s->state == SOCKET_CONNECTED)
            return error;
    }
    do
        error = go_on(s, wait);
    while (error == -ERETRY);
    return error == -EAGAIN ? -EINPROGRESS : error;     /* its time is over, and it goes on */
}

/* There is room for one more, and a caller takes it. */
static void let_in(struct socket *listener) {
    struct socket *s = listener->callers;

    if (!s || listener->in_line >= listener->room)
        return;
    listener->callers = s->next_in_line;
    s->listener = NULL;
    if (join(s, listener)) {
        s->state = SOCKET_FRESH;
        s->error = ENOMEM;
        file_changed(s);
    }
}

struct socket *listener_take(struct socket *listener) {
    struct socket *t = listener->backlog;

    if (!t)
        return NULL;
    listener->backlog = t->next_in_line;
    listener->in_line--;
    t->listener = NULL;
    let_in(listener);
    file_changed(listener);             /* a local caller may wait for room */
    return t;
}

void listener_end(struct socket *s) {
    struct socket *t;

    if (s->state != SOCKET_LISTENING)
        return;
    while ((t = s->backlog)) {
        s->backlog = t->next_in_line;
        socket_end(t);
    }
    while ((t = s->callers)) {
        s->callers = t->next_in_line;
        t->listener = NULL;
        t->state = SOCKET_FRESH;
        t->error = ECONNREFUSED;
        file_changed(t);
    }
}

void caller_ends(struct socket *s) {
    if (s->state == SOCKET_CALLING && s->listener)
        leave_line(&s->listener->callers, s);
}
