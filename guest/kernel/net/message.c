/* Messages: datagrams, and the packets of SOCK_SEQPACKET.  Each waits at its receiver, with its sender's name. */
#include "kernel.h"
#include "mm/page.h"
#include "mm/slab.h"
#include "rights.h"
#include "socket.h"
#include "task/process.h"

#define ROOM 212992UL           /* bytes that may wait at one socket: Linux's rmem_default */
#define OVERHEAD 768UL          /* that Linux counts with each */
#define STRANGERS_MAX 10        /* messages from a local socket that is not its peer: max_dgram_qlen */
#define UDP_MAX 65507UL         /* behind a header of IPv4, */
#define UDP6_MAX 65527UL        /* and in a packet of IPv6 */

static u64 held;                /* by all that are on their way: a quarter of the memory */

struct message *message_new(u64 size) {
    struct message *m = held + size <= pages_total() * PAGE_SIZE / 4 ? kmalloc(sizeof *m + size) : NULL;

    if (m) {
        m->size = size;
        m->sender = own_credentials();
        held += sizeof *m + size;
    }
    return m;
}

/* Less was written than there was room for. */
void message_shrink(struct message *m, u64 room) { held -= room - m->size; }

void message_free(struct message *m) {
    held -= sizeof *m + m->size;
    rights_drop(m->rights);
    kfree(m);
}

static bool is_full(const struct socket *to, const struct socket *from, u64 size) {
    bool strange = is_local(to) && to->peer != from && !is_connected_type(to);

    return (to->count && to->queued + to->count * OVERHEAD + size > ROOM) || (strange && to->count > STRANGERS_MAX);
}

void message_arrives(struct socket *s, struct message *m) {
    m->next = NULL;
    *(s->last ? &s->last->next : &s->first) = m;
    s->last = m;
    s->queued += m->size;
    s->count++;
    s->arrivals++;
    file_changed(s);
}

i64 message_send(struct socket *s, struct message *m, const struct address *to, bool wait) {
    struct socket *receiver = NULL;
    i64 error = s->error ? socket_take_error(s) : s->shut_out ? -EPIPE : 0;

    if (!error && m->size > (is_local(s) ? ROOM - 32 : s->family->domain == AF_INET ? UDP_MAX : UDP6_MAX))
        error = -EMSGSIZE;
    if (error)
        return error;
    if (s->family->deliver)
        return s->family->deliver(s, m);
    if (is_connected_type(s))
        receiver = s->peer, error = s->state == SOCKET_CONNECTED ? 0 : -ENOTCONN;
    else
        error = s->family->find(s, to, &receiver);
    if (error)
        return error;
    if (receiver && receiver->shut_in && is_local(s))
        return -EPIPE;
    if (receiver && is_full(receiver, s, m->size)) {
        if (is_local(s))
            return wait ? socket_wait(receiver, s->send_timeout) : -EAGAIN;
        receiver = NULL;                /* UDP loses what there is no room for */
    }
    if (!receiver) {
        message_free(m);
        return 0;
    }
    s->family->name(s, false, &m->from);
    if (!is_local(s))
        m->source = s->local;
    message_arrives(receiver, m);
    return 0;
}

i64 message_receive(struct socket *s, struct message **m, bool wait) {
    *m = s->first;
    if (*m)
        return 0;
    if (s->error)
        return socket_take_error(s);
    if (is_connected_type(s) && s->state != SOCKET_CONNECTED)
        return -ENOTCONN;
    return s->shut_in ? 0 : !wait ? -EAGAIN : socket_wait(s, s->receive_timeout);
}

void message_done(struct socket *s) {
    struct message *m = s->first;

    s->first = m->next;
    s->last = s->first ? s->last : NULL;
    s->queued -= m->size;
    s->count--;
    message_free(m);
    file_changed(s);                    /* there is room */
}

void messages_end(struct socket *s) {
    if (is_connected_type(s) && s->peer && !is_stream(s)) {
        s->peer->shut_in = s->peer->shut_out = true;
        if (s->first || s->listener)
            s->peer->error = ECONNRESET;
        file_changed(s->peer);
    }
    while (s->first)
        message_done(s);
}

/* Linux tells that there is room from half of it on, to one who is not waited for by its peer. */
static bool has_room(const struct socket *s) {
    return !s->peer || !is_local(s) || !is_full(s->peer, s, 0);
}

i16 messages_poll(const struct socket *s) {
    i16 events = s->error ? POLLERR : 0;

    if (s->first)
        events |= POLLIN | POLLRDNORM;
    if (s->shut_in)
        events |= POLLIN | POLLRDNORM | POLLRDHUP;
    if (has_room(s))
        events |= POLLOUT | POLLWRNORM | POLLWRBAND;
    if ((s->shut_in && s->shut_out) || (is_connected_type(s) && s->state != SOCKET_CONNECTED))
        events |= POLLHUP;
    return events;
}
