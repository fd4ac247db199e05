/* NETLINK_ROUTE: what the interfaces and their addresses are.  There is one, the loopback, and none can be changed.
 *
 *   message   nlmsghdr │ ifinfomsg or ifaddrmsg │ attributes: length, type, bytes …      all in units of four bytes
 */
#include "kernel.h"
#include "mm/slab.h"
#include "socket.h"
#include "task/process.h"

#define NETLINK_ROUTE 0
#define NETLINK_SIZE 12U
#define NLM_F_REQUEST 1
#define NLM_F_MULTI 2
#define NLM_F_ACK 4
#define NLM_F_DUMP 0x300
#define NLMSG_NOOP 1
#define NLMSG_ERROR 2
#define NLMSG_DONE 3
#define FIRST_REQUEST 16
enum { RTM_NEWLINK = 16, RTM_GETLINK = 18, RTM_NEWADDR = 20, RTM_GETADDR = 22, RTM_GETROUTE = 26 };
enum { IFLA_ADDRESS = 1, IFLA_BROADCAST, IFLA_IFNAME, IFLA_MTU, IFLA_TXQLEN = 13, IFLA_OPERSTATE = 16 };
enum { IFA_ADDRESS = 1, IFA_LOCAL, IFA_LABEL, IFA_CACHEINFO = 6, IFA_FLAGS = 8 };
#define IFA_F_PERMANENT 0x80
#define SCOPE_HOST 254
#define ARPHRD_LOOPBACK 772
#define LOOPBACK 1              /* its number */
#define LOOPBACK_FLAGS 0x10049  /* up, loopback, running, lower up */
#define REPLY_MAX 1024U

struct nlmsghdr { u32 length; u16 type, flags; u32 sequence, pid; };
struct ifinfomsg { u8 family, pad; u16 type; i32 index; u32 flags, change; };
struct ifaddrmsg { u8 family, prefix, flags, scope; u32 index; };
struct attribute { u16 length, type; };

/* A datagram for the program, being written. */
struct reply { struct message *m; u64 begin; };

static void *add(struct reply *r, const void *bytes, u64 n) {
    u8 *at = r->m->bytes + r->m->size;

    memcpy(at, bytes, n);
    r->m->size += ROUND_UP(n, 4);       /* REPLY_MAX is more than all that there is to say */
    return at;
}

static void add_attribute(struct reply *r, u16 type, const void *bytes, u64 n) {
    struct attribute a = {(u16)(sizeof a + n), type};

    add(r, &a, sizeof a);
    add(r, bytes, n);
}

static void add_number(struct reply *r, u16 type, u32 value) { add_attribute(r, type, &value, sizeof value); }

static void begin(struct reply *r, const struct nlmsghdr *request, u16 type, u16 flags) {
    struct nlmsghdr h = {0, type, flags, request->sequence, request->pid};

    r->begin = r->m->size;
    add(r, &h, sizeof h);
}

static void end(struct reply *r) { ((struct nlmsghdr *)(r->m->bytes + r->begin))->length = (u32)(r->m->size - r->begin); }

static void add_link(struct reply *r, const struct nlmsghdr *request, u16 flags) {
    struct ifinfomsg link = {.type = ARPHRD_LOOPBACK, .index = LOOPBACK, .flags = LOOPBACK_FLAGS};
    u8 hardware[6] = {0}, unknown = 0;

    begin(r, request, RTM_NEWLINK, flags);
    add(r, &link, sizeof link);
    add_attribute(r, IFLA_IFNAME, "lo", 3);
    add_number(r, IFLA_TXQLEN, 1000);
    add_attribute(r, IFLA_OPERSTATE, &unknown, 1);
    add_number(r, IFLA_MTU, 65536);
    add_attribute(r, IFLA_ADDRESS, hardware, sizeof hardware);
    add_attribute(r, IFLA_BROADCAST, hardware, sizeof hardware);
    end(r);
}

static void add_address(struct reply *r, const struct nlmsghdr *request, u8 family) {
    static const u8 old[4] = {127, 0, 0, 1}, new[16] = {[15] = 1};
    static const u32 for_ever[4] = {~0u, ~0u, 0, 0};
    struct ifaddrmsg address = {family, family == AF_INET ? 8 : 128, IFA_F_PERMANENT, SCOPE_HOST, LOOPBACK};

    begin(r, request, RTM_NEWADDR, NLM_F_MULTI);
    add(r, &address, sizeof address);
    if (family == AF_INET) {
        add_attribute(r, IFA_ADDRESS, old, sizeof old);
        add_attribute(r, IFA_LOCAL, old, sizeof old);
        add_attribute(r, IFA_LABEL, "lo", 3);
        add_number(r, IFA_FLAGS, IFA_F_PERMANENT);
        add_attribute(r, IFA_CACHEINFO, for_ever, sizeof for_ever);
    } else {
        add_attribute(r, IFA_ADDRESS, new, sizeof new);
        add_attribute(r, IFA_CACHEINFO, for_ever, sizeof for_ever);
        add_number(r, IFA_FLAGS, IFA_F_PERMANENT);
    }
    end(r);
}

static void add_error(struct reply *r, const struct nlmsghdr *request, i32 error) {
    begin(r, request, NLMSG_ERROR, 0);
    add(r, &error, sizeof error);
    add(r, request, sizeof *request);
    end(r);
}

static void add_done(struct reply *r, const struct nlmsghdr *request) {
    i32 status = 0;

    begin(r, request, NLMSG_DONE, NLM_F_MULTI);
    add(r, &status, sizeof status);
    end(r);
}

/* `family`: of the addresses that are wanted, 0 for all. */
static void answer(struct reply *r, const struct nlmsghdr *request, u8 family) {
    bool all = (request->flags & NLM_F_DUMP) == NLM_F_DUMP;

    if (request->type == RTM_GETLINK && !all) {
        add_link(r, request, 0);
        return;
    }
    if (!all || (request->type != RTM_GETLINK && request->type != RTM_GETADDR && request->type != RTM_GETROUTE)) {
        add_error(r, request, request->type == RTM_GETROUTE ? -ENETUNREACH : -EOPNOTSUPP);
        return;
    }
    if (request->type == RTM_GETLINK)
        add_link(r, request, NLM_F_MULTI);
    if (request->type == RTM_GETADDR && family != AF_INET6)
        add_address(r, request, AF_INET);
    if (request->type == RTM_GETADDR && family != AF_INET)
        add_address(r, request, AF_INET6);
    add_done(r, request);
}

static i64 answer_one(struct socket *s, const struct nlmsghdr *request, u8 family) {
    struct message *m = message_new(REPLY_MAX);
    struct reply r = {m, 0};

    if (!m)
        return -ENOBUFS;
    struct nlmsghdr own = *request;
    own.pid = s->called.pid;
    m->size = 0;
    if (own.type >= FIRST_REQUEST)
        answer(&r, &own, family);
    if (own.flags & NLM_F_ACK && (own.flags & NLM_F_DUMP) != NLM_F_DUMP)
        add_error(&r, &own, 0);
    message_shrink(m, REPLY_MAX);
    m->from = (struct address){.size = NETLINK_SIZE, .netlink_family = AF_NETLINK};
    m->sender = (struct credentials){0, 0, 0};
    if (m->size)
        message_arrives(s, m);
    else
        message_free(m);
    return 0;
}

/* ---- the family ---- */

static i64 check(u32 type, u32 *protocol) {
    return type != SOCK_RAW && type != SOCK_DGRAM ? -ESOCKTNOSUPPORT : *protocol != NETLINK_ROUTE ? -EPROTONOSUPPORT : 0;
}

static bool is_taken(u32 pid) {
    for (const struct socket *s = all_sockets; s; s = s->next)
        if (s->family == &netlink_family && s->called.size && s->called.pid == pid)
            return true;
    return false;
}

static i64 prepare(struct socket *s) {
    u32 pid = (u32)current->process->pid;

    while (is_taken(pid))
        pid = pid > PID_MAX ? pid - 1 : ~0u;    /* the second one of a process has any number */
    s->called = (struct address){.size = NETLINK_SIZE, .netlink_family = AF_NETLINK, .pid = pid};
    return 0;
}

static i64 bind(struct socket *s, const struct address *a) {
    if (a->size < NETLINK_SIZE || a->netlink_family != AF_NETLINK || (s->called.size && a->pid != s->called.pid))
        return -EINVAL;
    if (s->called.size || !a->pid)
        return s->called.size ? 0 : prepare(s);
    if (is_taken(a->pid))
        return -EADDRINUSE;
    s->called = *a;
    s->called.groups = 0;
    s->called.size = NETLINK_SIZE;
    return 0;
}

static i64 settle(struct socket *s, const struct address *a) {
    return a->size < NETLINK_SIZE || a->netlink_family != AF_NETLINK ? -EINVAL : a->pid ? -ECONNREFUSED : s->called.size ? 0 : prepare(s);
}

static void name(const struct socket *s, bool of_peer, struct address *a) {
    *a = (struct address){.size = NETLINK_SIZE, .netlink_family = AF_NETLINK, .pid = of_peer ? 0 : s->called.pid};
}

static i64 deliver(struct socket *s, struct message *m) {
    struct nlmsghdr h;

    if (!s->called.size)
        prepare(s);
    for (u64 at = 0; at + sizeof h <= m->size; at += ROUND_UP(h.length, 4)) {
        memcpy(&h, m->bytes + at, sizeof h);
        if (h.length < sizeof h || h.length > m->size - at)
            break;
        if (!(h.flags & NLM_F_REQUEST) || h.type == NLMSG_NOOP)
            continue;
        if (s->count && s->queued > REPLY_MAX * 64)
            return -ENOBUFS;
        i64 error = answer_one(s, &h, h.length > sizeof h ? m->bytes[at + sizeof h] : 0);
        if (error)
            return error;
    }
    message_free(m);
    return 0;
}

const struct family netlink_family = {
    .domain = AF_NETLINK, .check = check, .bind = bind, .prepare = prepare, .settle = settle, .name = name, .deliver = deliver,
};
