/* AF_INET and AF_INET6 on the loopback interface: 127.0.0.0/8 and ::1, TCP and UDP. */
#include "kernel.h"
#include "socket.h"
#include "task/ids.h"
#include "task/process.h"

#define TCP 6
#define UDP 17
#define UDP_LITE 136            /* RFC 3828: the same, where nothing is damaged on the way */
#define PORTS_FOR_ALL 1024U             /* below, only root may bind */
#define FIRST_OF_ITSELF 32768U          /* net.ipv4.ip_local_port_range */
#define LAST_OF_ITSELF 60999U

static const u8 mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
static const u8 any6[16], loopback6[16] = {[15] = 1};
static const u8 any4[16] = {[10] = 0xff, 0xff}, loopback4[16] = {[10] = 0xff, 0xff, 127, [15] = 1};

static bool same(const u8 a[16], const u8 b[16]) { return memcmp(a, b, 16) == 0; }
static bool is4(const u8 ip[16]) { return memcmp(ip, mapped, sizeof mapped) == 0; }
static bool is_any(const u8 ip[16]) { return same(ip, any4) || same(ip, any6); }
static bool is_ours(const u8 ip[16]) { return same(ip, loopback6) || (is4(ip) && ip[12] == 127); }
static bool is_old(const struct socket *s) { return s->family->domain == AF_INET; }
static bool is_inet(const struct socket *s) { return s->family->domain == AF_INET || s->family->domain == AF_INET6; }
static bool only_new(const struct socket *s) { return !is_old(s) && option_of(s->option, IPPROTO_IPV6, IPV6_V6ONLY); }

static i64 check(u32 type, u32 *protocol) {
    u32 usual = type == SOCK_STREAM ? TCP : UDP;

    if (type == SOCK_RAW)
        return is_root() ? -EPROTONOSUPPORT : -EPERM;
    if (type != SOCK_STREAM && type != SOCK_DGRAM)
        return -ESOCKTNOSUPPORT;
    if (*protocol == UDP_LITE && type == SOCK_DGRAM)
        return 0;
    if (*protocol && *protocol != usual)
        return -EPROTONOSUPPORT;
    *protocol = usual;
    return 0;
}

/* The address that a program gave, for its socket. */
static i64 read_endpoint(const struct socket *s, const struct address *a, struct endpoint *e) {
    if (a->size < INET_SIZE)
        return -EINVAL;
    if (is_old(s) ? a->family != AF_INET : a->family != AF_INET6)
        return -EAFNOSUPPORT;
    e->port = (u16)(a->port[0] << 8 | a->port[1]);
    if (!is_old(s)) {
        if (a->size < INET6_LEAST)
            return -EINVAL;
        memcpy(e->ip, a->ip6, 16);
        return 0;
    }
    memcpy(e->ip, mapped, sizeof mapped);
    memcpy(e->ip + sizeof mapped, a->ip4, 4);
    return 0;
}

static void write_endpoint(const struct socket *s, const struct endpoint *e, struct address *a) {
    *a = (struct address){.size = is_old(s) ? INET_SIZE : INET6_SIZE, .family = (u16)s->family->domain};
    a->port[0] = (u8)(e->port >> 8);
    a->port[1] = (u8)e->port;
    if (is_old(s))
        memcpy(a->ip4, e->ip + sizeof mapped, 4);
    else
        memcpy(a->ip6, e->ip, 16);
}

/* ---- ports ---- */

/* Does a socket with this name get what comes for that address? */
static bool covers(const u8 own[16], bool only6, const u8 ip[16]) {
    return same(own, ip) || (same(own, any4) && is4(ip)) || (same(own, any6) && (!is4(ip) || !only6));
}

static bool reaches(const struct socket *s, const u8 ip[16]) { return covers(s->local.ip, only_new(s), ip); }

static bool both_have(const struct socket *s, const struct socket *t, u32 option) {
    return option_of(s->option, SOL_SOCKET, option) && option_of(t->option, SOL_SOCKET, option);
}

static bool in_the_way(const struct socket *s, const struct socket *t, const struct endpoint *e) {
    if (t == s || !is_inet(t) || t->protocol != s->protocol || t->local.port != e->port)
        return false;
    if (!reaches(t, e->ip) && !covers(e->ip, only_new(s), t->local.ip))
        return false;
    if (both_have(s, t, SO_REUSEPORT))
        return false;
    return !both_have(s, t, SO_REUSEADDR) || t->state == SOCKET_LISTENING;
}

static bool is_free(const struct socket *s, const struct endpoint *e) {
    for (const struct socket *t = all_sockets; t; t = t->next)
        if (in_the_way(s, t, e))
            return false;
    return true;
}

static i64 find_port(const struct socket *s, struct endpoint *e) {
    static u16 next = FIRST_OF_ITSELF;

    for (u32 tries = FIRST_OF_ITSELF; tries <= LAST_OF_ITSELF; tries++) {
        e->port = next;
        next = next == LAST_OF_ITSELF ? FIRST_OF_ITSELF : next + 1;
        if (is_free(s, e))
            return 0;
    }
    return -EADDRINUSE;
}

static i64 inet_bind(struct socket *s, const struct address *a) {
    struct endpoint e;
    i64 error = read_endpoint(s, a, &e);

    if (error)
        return error;
    if (!is_any(e.ip) && !is_ours(e.ip))
        return -EADDRNOTAVAIL;
    if (only_new(s) && is4(e.ip))
        return -EINVAL;
    if (e.port && e.port < PORTS_FOR_ALL && !is_root())
        return -EACCES;
    if (s->local.port)
        return -EINVAL;
    error = e.port ? (is_free(s, &e) ? 0 : -EADDRINUSE) : find_port(s, &e);
    if (!error)
        s->local = e;
    return error;
}

static i64 inet_prepare(struct socket *s) {
    struct endpoint e = {.port = 0};

    memcpy(e.ip, is_old(s) ? any4 : any6, sizeof e.ip);
    if (s->state == SOCKET_FRESH && s->local.port && is_stream(s)) {
        for (const struct socket *t = all_sockets; t; t = t->next)
            if (t->state == SOCKET_LISTENING && in_the_way(s, t, &s->local))
                return -EADDRINUSE;
        return 0;
    }
    if (s->local.port)
        return 0;
    i64 error = find_port(s, &e);
    if (!error)
        s->local = e;
    return error;
}

/* ---- meeting ---- */

/* Where it goes: any address of one's own is the loopback's. */
static i64 destination(const struct socket *s, const struct address *a, struct endpoint *e) {
    i64 error = read_endpoint(s, a, e);

    if (error)
        return error;
    if (is_any(e->ip))
        memcpy(e->ip, is4(e->ip) || is_old(s) ? loopback4 : loopback6, 16);
    if (only_new(s) && is4(e->ip))
        return -ENETUNREACH;
    if (!is_ours(e->ip))
        return -ENETUNREACH;
    if (!is_any(s->local.ip) && s->local.port && is4(s->local.ip) != is4(e->ip))
        return -ENETUNREACH;
    return 0;
}

static bool takes_from(const struct socket *t, const struct socket *s) {
    return !t->remote.port || (t->remote.port == s->local.port && (is_any(s->local.ip) || same(t->remote.ip, s->local.ip)));
}

/* The nearest: connected to the sender, before bound to the very address, before bound to any. */
static struct socket *receiver_of(const struct socket *s, const struct endpoint *e) {
    struct socket *best = NULL;
    int best_score = 0;

    for (struct socket *t = all_sockets; t; t = t->next) {
        if (!is_inet(t) || t->protocol != s->protocol || t->local.port != e->port || !reaches(t, e->ip))
            continue;
        if (is_stream(s) ? t->state != SOCKET_LISTENING : !takes_from(t, s))
            continue;
        int score = 1 + (t->remote.port ? 4 : 0) + (same(t->local.ip, e->ip) ? 2 : 0);
        if (score > best_score) {
            best = t;
            best_score = score;
        }
    }
    return best;
}

/* Where it comes from, as the receiver sees it. */
static void choose_source(struct socket *s, const u8 to[16]) {
    if (is_any(s->local.ip))
        memcpy(s->local.ip, is4(to) ? loopback4 : loopback6, 16);
}

static i64 inet_find(struct socket *s, const struct address *a, struct socket **found) {
    struct endpoint e = s->remote;
    i64 error = s->local.port ? 0 : inet_prepare(s);

    if (!error)
        error = a ? destination(s, a, &e) : e.port ? 0 : -EDESTADDRREQ;
    if (!error && !e.port)
        error = is_stream(s) ? -ECONNREFUSED : -EINVAL;
    if (error)
        return error;
    *found = receiver_of(s, &e);
    if (is_stream(s))
        s->remote = e;
    else if (!*found && !a)
        s->error = ECONNREFUSED;        /* an answer by ICMP, for one who is connected */
    return 0;
}

static i64 inet_settle(struct socket *s, const struct address *a) {
    struct endpoint e;

    if (a->size >= sizeof a->family && a->family == AF_UNSPEC) {
        s->remote = (struct endpoint){.port = 0};
        return 0;
    }
    i64 error = destination(s, a, &e);
    if (!error && !s->local.port)
        error = inet_prepare(s);
    if (error)
        return error;
    choose_source(s, e.ip);
    s->remote = e;
    return 0;
}

static void inet_join(struct socket *client, struct socket *server, const struct socket *listener) {
    (void)listener;
    choose_source(client, client->remote.ip);
    server->local = client->remote;
    server->remote = client->local;
}

static void inet_name(const struct socket *s, bool of_peer, struct address *a) {
    struct endpoint e = of_peer ? s->remote : s->local;

    if (!e.port && is_old(s))
        memcpy(e.ip, any4, sizeof e.ip);
    write_endpoint(s, &e, a);
}

/* A datagram's sender, in the receiver's family. */
void inet_name_source(const struct socket *receiver, struct message *m) {
    struct endpoint e = m->source;

    if (is_any(e.ip))
        memcpy(e.ip, is4(e.ip) || is_old(receiver) ? loopback4 : loopback6, 16);
    write_endpoint(receiver, &e, &m->from);
}

#define INET .check = check, .bind = inet_bind, .prepare = inet_prepare, .find = inet_find, .settle = inet_settle, .join = inet_join, .name = inet_name
const struct family inet_family = {.domain = AF_INET, INET};
const struct family inet6_family = {.domain = AF_INET6, INET};
