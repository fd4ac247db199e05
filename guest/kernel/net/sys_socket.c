/* Sockets and their names: socket, bind, listen, connect, accept, shutdown. */
#include "kernel.h"
#include "mm/slab.h"
#include "mm/vm.h"
#include "socket.h"
#include "syscall/syscalls.h"
#include "task/process.h"

#define SOCK_TYPE 15U
#define SOCK_FLAGS ((u32)(O_NONBLOCK | O_CLOEXEC))
#define SOCK_PACKET 10          /* the last type that there is */
#define BACKLOG_MAX 4096        /* net.core.somaxconn */
#define SHUT_RD 0
#define SHUT_RDWR 2

static const struct family *family_of(u32 domain) {
    static const struct family *const families[] = {&local_family, &inet_family, &inet6_family, &netlink_family};

    for (u64 i = 0; i < COUNT(families); i++)
        if (families[i]->domain == domain)
            return families[i];
    return NULL;
}

static i64 check(u32 domain, u32 type, u32 *protocol) {
    const struct family *family = family_of(domain);

    if (type & ~(SOCK_TYPE | SOCK_FLAGS) || (type & SOCK_TYPE) > SOCK_PACKET)
        return -EINVAL;
    return !family ? -EAFNOSUPPORT : family->check(type & SOCK_TYPE, protocol);
}

static bool may_wait(const struct file *f) { return !(f->flags & O_NONBLOCK); }

i64 sys_socket(u32 domain, u32 type, u32 protocol) {
    i64 error = check(domain, type, &protocol);

    if (error)
        return error;
    struct socket *s = socket_new(family_of(domain), type & SOCK_TYPE, protocol);
    struct file *f = s ? socket_file(s, type) : NULL;
    if (!f) {
        if (s)
            socket_end(s);
        return -ENOMEM;
    }
    return fd_install(f, 0, type & O_CLOEXEC);
}

/* Two that are connected from the beginning. */
static i64 pair(struct file *ends[2], u32 type, u32 flags) {
    struct socket *s = socket_new(&local_family, type, 0), *t = socket_new(&local_family, type, 0);

    ends[0] = ends[1] = NULL;
    if (!s || !t || (type == SOCK_STREAM && stream_pair(s, t)) || !(ends[0] = socket_file(s, flags)) || !(ends[1] = socket_file(t, flags))) {
        if (ends[0])
            file_discard(ends[0]);
        if (s)
            socket_end(s);
        if (t)
            socket_end(t);
        return -ENOMEM;
    }
    s->peer = t;
    t->peer = s;
    s->peer_owner = t->peer_owner = s->owner;
    s->state = t->state = SOCKET_CONNECTED;
    return 0;
}

i64 sys_socketpair(u32 domain, u32 type, u32 protocol, u64 to) {
    struct file *ends[2];
    i32 fds[2];
    i64 error = check(domain, type, &protocol);

    if (error)
        return error;
    if (domain != AF_UNIX)
        return -EOPNOTSUPP;
    if ((error = pair(ends, type & SOCK_TYPE, type)))
        return error;
    return fd_install_pair(ends[0], ends[1], type & O_CLOEXEC, fds) ? -EMFILE : copy_out_pair(to, fds);
}

i64 sys_bind(i32 fd, u64 address, u32 size) {
    struct address a;
    struct file *f;
    i64 error = socket_at(fd, &f);

    if (!error)
        error = address_in(&a, address, size);
    return error ? error : socket_of(f)->family->bind(socket_of(f), &a);
}

i64 sys_listen(i32 fd, u32 backlog) {
    struct file *f;
    i64 error = socket_at(fd, &f);

    if (error)
        return error;
    struct socket *s = socket_of(f);
    if (!is_connected_type(s))
        return -EOPNOTSUPP;
    if (s->state != SOCKET_FRESH && s->state != SOCKET_LISTENING)
        return -EINVAL;
    if (s->state == SOCKET_FRESH && (error = s->family->prepare(s)))
        return error;
    s->state = SOCKET_LISTENING;
    s->owner = own_credentials();
    s->room = MIN(backlog, (u32)BACKLOG_MAX) + 1;
    file_changed(s);
    return 0;
}

i64 sys_connect(i32 fd, u64 address, u32 size) {
    struct address a;
    struct file *f;
    i64 error = socket_at(fd, &f);

    if (!error)
        error = address_in(&a, address, size);
    if (error)
        return error;
    struct socket *s = socket_of(f);
    if (!is_connected_type(s))
        return s->family->settle(s, &a);
    f->refs++;
    error = socket_call(s, &a, may_wait(f));
    file_put(f);
    return error;
}

static i64 take(struct socket *s, bool wait, struct socket **taken) {
    i64 error = 0;

    while (!error && !(*taken = s->state == SOCKET_LISTENING ? listener_take(s) : NULL)) {
        error = s->state != SOCKET_LISTENING ? -EINVAL : !wait ? -EAGAIN : socket_wait(s, s->receive_timeout);
        if (error == -ERETRY)
            error = 0;
    }
    return error;
}

static bool has_number(void) {
    for (i32 fd = 0; fd < fd_limit(); fd++)
        if (!file_at(fd))
            return true;
    return false;
}

static i64 accept(struct file *f, u64 address, u64 size, u32 flags) {
    struct socket *s = socket_of(f), *t;
    struct address a;

    if (!has_number())
        return -EMFILE;
    i64 error = take(s, may_wait(f), &t);
    if (error)
        return error;
    t->family->name(t, true, &a);
    struct file *made = socket_file(t, flags);
    if (!made) {
        socket_end(t);
        return -ENOMEM;
    }
    if (address && (error = address_out(&a, address, size))) {
        file_put(made);
        return error;
    }
    return fd_install(made, 0, flags & O_CLOEXEC);
}

i64 sys_accept4(i32 fd, u64 address, u64 size, u32 flags) {
    struct file *f;
    i64 result = socket_at(fd, &f);

    if (flags & ~SOCK_FLAGS)
        return -EINVAL;
    if (result)
        return result;
    if (!is_connected_type(socket_of(f)))
        return -EOPNOTSUPP;
    f->refs++;
    result = accept(f, address, size, flags);
    file_put(f);
    return result;
}

i64 sys_accept(i32 fd, u64 address, u64 size) { return sys_accept4(fd, address, size, 0); }

static bool has_peer(const struct socket *s) {
    if (is_local(s))
        return s->peer || s->peer_is_gone;
    if (is_connected_type(s))
        return s->state == SOCKET_CONNECTED && !s->broken;
    return s->family->domain != AF_NETLINK && s->remote.port;
}

static i64 give_name(i32 fd, u64 address, u64 size, bool of_peer) {
    struct address a;
    struct file *f;
    i64 error = socket_at(fd, &f);

    if (error)
        return error;
    if (of_peer && !has_peer(socket_of(f)))
        return -ENOTCONN;
    socket_of(f)->family->name(socket_of(f), of_peer, &a);
    return address_out(&a, address, size);
}

i64 sys_getsockname(i32 fd, u64 address, u64 size) { return give_name(fd, address, size, false); }
i64 sys_getpeername(i32 fd, u64 address, u64 size) { return give_name(fd, address, size, true); }

static i64 shut_messages(struct socket *s, bool in, bool out) {
    if (is_connected_type(s) && s->state != SOCKET_CONNECTED)
        return -ENOTCONN;
    s->shut_in |= in;
    s->shut_out |= out;
    if (is_connected_type(s) && s->peer) {
        s->peer->shut_in |= out;
        s->peer->shut_out |= in;
        file_changed(s->peer);
    }
    file_changed(s);
    return is_local(s) || s->remote.port ? 0 : -ENOTCONN;       /* as Linux, which does it all the same */
}

i64 sys_shutdown(i32 fd, u32 how) {
    struct file *f;
    i64 error = socket_at(fd, &f);

    if (error || how > SHUT_RDWR)
        return error ? error : -EINVAL;
    struct socket *s = socket_of(f);
    if (!is_stream(s))
        return shut_messages(s, how != 1, how != SHUT_RD);
    if (s->state == SOCKET_LISTENING && how != 1) {
        listener_end(s);
        s->state = SOCKET_FRESH;
        file_changed(s);
        return 0;
    }
    if (!s->in)
        return is_local(s) ? 0 : -ENOTCONN;
    stream_shut(s, how != 1, how != SHUT_RD);
    return 0;
}
