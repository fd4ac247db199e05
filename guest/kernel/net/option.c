/* getsockopt and setsockopt.  Most options are hints for a network, of which there is none: a socket remembers them. */
#include "option.h"

#include "kernel.h"
#include "mm/vm.h"
#include "socket.h"
#include "syscall/syscalls.h"
#include "task/process.h"
#include "time/time.h"

#define SO_TYPE 3
#define SO_ERROR 4
#define SO_SNDBUF 7
#define SO_RCVBUF 8
#define SO_LINGER 13
#define SO_PEERCRED 17
#define SO_RCVTIMEO 20
#define SO_SNDTIMEO 21
#define SO_ACCEPTCONN 30
#define SO_PROTOCOL 38
#define SO_DOMAIN 39
#define BUFFER 212992           /* Linux's rmem_default and wmem_default */
#define SMALLEST_SNDBUF 4608
#define SMALLEST_RCVBUF 2304
#define LARGEST_BUFFER 212992   /* of what is asked for: rmem_max */

/* `bit`: is on or off. */
static const struct known { u8 level, option; bool bit; i32 otherwise; } known[OPTIONS] = {
    {SOL_SOCKET, 1, true, 0}, {SOL_SOCKET, SO_REUSEADDR, true, 0}, {SOL_SOCKET, 5, true, 0}, {SOL_SOCKET, 6, true, 0},
    {SOL_SOCKET, SO_SNDBUF, false, BUFFER}, {SOL_SOCKET, SO_RCVBUF, false, BUFFER}, {SOL_SOCKET, 9, true, 0}, {SOL_SOCKET, 10, true, 0},
    {SOL_SOCKET, 11, true, 0}, {SOL_SOCKET, 12, false, 0}, {SOL_SOCKET, SO_REUSEPORT, true, 0}, {SOL_SOCKET, SO_PASSCRED, true, 0},
    {SOL_SOCKET, 18, false, 1}, {SOL_SOCKET, 29, true, 0}, {SOL_SOCKET, 36, false, 0},
    /* NODELAY, MAXSEG, CORK, KEEPIDLE, KEEPINTVL, KEEPCNT, SYNCNT, LINGER2, DEFER_ACCEPT, WINDOW_CLAMP, QUICKACK, USER_TIMEOUT, FASTOPEN, NOTSENT_LOWAT */
    {IPPROTO_TCP, 1, true, 0}, {IPPROTO_TCP, 2, false, 536}, {IPPROTO_TCP, 3, true, 0}, {IPPROTO_TCP, 4, false, 7200}, {IPPROTO_TCP, 5, false, 75},
    {IPPROTO_TCP, 6, false, 9}, {IPPROTO_TCP, 7, false, 6}, {IPPROTO_TCP, 8, false, 60}, {IPPROTO_TCP, 9, false, 0}, {IPPROTO_TCP, 10, false, 0},
    {IPPROTO_TCP, 12, true, 1}, {IPPROTO_TCP, 18, false, 0}, {IPPROTO_TCP, 23, false, 0}, {IPPROTO_TCP, 25, false, 0},
    /* TOS, TTL, PKTINFO, MTU_DISCOVER, RECVERR, RECVTTL, RECVTOS, FREEBIND, BIND_ADDRESS_NO_PORT, MULTICAST_TTL, MULTICAST_LOOP, MULTICAST_ALL */
    {IPPROTO_IP, 1, false, 0}, {IPPROTO_IP, 2, false, 64}, {IPPROTO_IP, 8, true, 0}, {IPPROTO_IP, 10, false, 1}, {IPPROTO_IP, 11, true, 0},
    {IPPROTO_IP, 12, true, 0}, {IPPROTO_IP, 13, true, 0}, {IPPROTO_IP, 15, true, 0}, {IPPROTO_IP, 24, true, 0}, {IPPROTO_IP, 33, false, 1},
    {IPPROTO_IP, 34, true, 1}, {IPPROTO_IP, 49, true, 1},
    /* UNICAST_HOPS, MULTICAST_HOPS, MULTICAST_LOOP, MTU_DISCOVER, RECVERR, V6ONLY, RECVPKTINFO, RECVHOPLIMIT, RECVTCLASS, TCLASS, AUTOFLOWLABEL, DONTFRAG */
    {IPPROTO_IPV6, 16, false, 64}, {IPPROTO_IPV6, 18, false, 1}, {IPPROTO_IPV6, 19, true, 1}, {IPPROTO_IPV6, 23, false, 1}, {IPPROTO_IPV6, 25, true, 0},
    {IPPROTO_IPV6, IPV6_V6ONLY, true, 0}, {IPPROTO_IPV6, 49, true, 0}, {IPPROTO_IPV6, 51, true, 0}, {IPPROTO_IPV6, 66, true, 0},
    {IPPROTO_IPV6, 67, false, 0}, {IPPROTO_IPV6, 70, true, 1}, {IPPROTO_IPV6, 62, true, 0},
    /* SEND_CSCOV, RECV_CSCOV */
    {IPPROTO_UDPLITE, 10, false, 0}, {IPPROTO_UDPLITE, 11, false, 0},
};

void socket_options_init(i32 values[OPTIONS]) {
    for (u32 i = 0; i < OPTIONS; i++)
        values[i] = known[i].otherwise;
}

static u32 index_of(u32 level, u32 option) {
    u32 i = 0;

    while (i < OPTIONS && !(known[i].level == level && known[i].option == option && option))
        i++;
    return i;
}

i32 option_of(const i32 values[OPTIONS], u32 level, u32 option) { return values[index_of(level, option)]; }

/* Has the socket this level at all? */
static i64 check_level(const struct socket *s, u32 level, i64 otherwise) {
    u32 domain = s->family->domain;
    bool has = level == SOL_SOCKET || (level == IPPROTO_IP && (domain == AF_INET || domain == AF_INET6)) ||
               (level == IPPROTO_IPV6 && domain == AF_INET6) || ((level == IPPROTO_TCP || level == IPPROTO_UDPLITE) && s->protocol == level);

    return has ? 0 : domain == AF_INET || domain == AF_INET6 ? otherwise : -EOPNOTSUPP;
}

/* What is no number: its bytes, or their count 0. */
static u32 give_record(struct socket *s, u32 option, u8 to[16]) {
    u64 timeout = option == SO_RCVTIMEO ? s->receive_timeout : s->send_timeout;
    struct timeval t = timeval_of(timeout);

    switch (option) {
    case SO_LINGER:
        memcpy(to, &s->linger, sizeof s->linger);
        return sizeof s->linger;
    case SO_PEERCRED:
        memcpy(to, &s->peer_owner, sizeof s->peer_owner);
        return sizeof s->peer_owner;
    case SO_RCVTIMEO: case SO_SNDTIMEO:
        memcpy(to, &t, sizeof t);
        return sizeof t;
    default:
        return 0;
    }
}

static i64 give_number(struct socket *s, u32 level, u32 option, i32 *value) {
    u32 i = index_of(level, option);

    *value = i < OPTIONS ? s->option[i] : 0;
    if (i < OPTIONS)
        return 0;
    if (level != SOL_SOCKET)
        return -ENOPROTOOPT;
    switch (option) {
    case SO_TYPE:
        *value = (i32)s->type;
        return 0;
    case SO_ERROR:
        *value = -(i32)socket_take_error(s);
        return 0;
    case SO_ACCEPTCONN:
        *value = s->state == SOCKET_LISTENING;
        return 0;
    case SO_PROTOCOL:
        *value = (i32)s->protocol;
        return 0;
    case SO_DOMAIN:
        *value = (i32)s->family->domain;
        return 0;
    default:
        return -ENOPROTOOPT;
    }
}

i64 sys_getsockopt(i32 fd, u32 level, u32 option, u64 to, u64 size) {
    struct file *f;
    u8 bytes[16];
    i32 room, value;
    i64 error = socket_at(fd, &f);

    if (error)
        return error;
    struct socket *s = socket_of(f);
    if (copy_in(&room, size, sizeof room))
        return -EFAULT;
    if ((error = check_level(s, level, -EOPNOTSUPP)) || room < 0)
        return error ? error : -EINVAL;
    u32 n = level == SOL_SOCKET ? give_record(s, option, bytes) : 0;
    if (!n) {
        if ((error = give_number(s, level, option, &value)))
            return error;
        memcpy(bytes, &value, n = sizeof value);
    }
    n = MIN((u32)room, n);
    return copy_out(to, bytes, n) || copy_out(size, &n, sizeof n) ? -EFAULT : 0;
}

static i64 set_timeout(u64 *timeout, u64 from, u32 size) {
    struct timeval t;

    if (size < sizeof t)
        return -EINVAL;
    if (copy_in(&t, from, sizeof t))
        return -EFAULT;
    if (t.usec < 0 || t.usec >= 1000000)
        return -EDOM;
    *timeout = t.sec < 0 ? 1 : t.sec < 1L << 32 ? (u64)t.sec * NS_PER_S + (u64)t.usec * 1000 : 0;
    return 0;
}

static i64 set_linger(struct socket *s, u64 from, u32 size) {
    if (size < sizeof s->linger)
        return -EINVAL;
    if (copy_in(&s->linger, from, sizeof s->linger))
        return -EFAULT;
    s->linger.on = !!s->linger.on;
    return 0;
}

static i32 buffer_size(u32 option, i32 asked) {
    u32 size = 2 * MIN((u32)asked, (u32)LARGEST_BUFFER);        /* as Linux: half of it is for itself */

    return (i32)MAX(size, option == SO_SNDBUF ? (u32)SMALLEST_SNDBUF : (u32)SMALLEST_RCVBUF);
}

i64 sys_setsockopt(i32 fd, u32 level, u32 option, u64 from, u32 size) {
    struct file *f;
    i32 value;
    i64 error = socket_at(fd, &f);

    if (error)
        return error;
    struct socket *s = socket_of(f);
    if ((error = check_level(s, level, -ENOPROTOOPT)))
        return error;
    u32 i = index_of(level, option);
    if (level == SOL_SOCKET && option == SO_LINGER)
        return set_linger(s, from, size);
    if (level == SOL_SOCKET && (option == SO_RCVTIMEO || option == SO_SNDTIMEO))
        return set_timeout(option == SO_RCVTIMEO ? &s->receive_timeout : &s->send_timeout, from, size);
    if (size < sizeof value)
        return -EINVAL;
    if (copy_in(&value, from, sizeof value))
        return -EFAULT;
    if (i == OPTIONS)
        return -ENOPROTOOPT;
    if (level == IPPROTO_IPV6 && option == IPV6_V6ONLY && s->local.port)
        return -EINVAL;
    bool buffer = level == SOL_SOCKET && (option == SO_SNDBUF || option == SO_RCVBUF);
    s->option[i] = buffer ? buffer_size(option, value) : known[i].bit ? !!value : value;
    return 0;
}
