/* SCM_RIGHTS, SCM_CREDENTIALS and the header fields of IP, from and to the program. */
#include "control.h"

#include "kernel.h"
#include "mm/slab.h"
#include "mm/vm.h"
#include "rights.h"
#include "task/ids.h"
#include "task/process.h"

#define SCM_RIGHTS 1
#define SCM_CREDENTIALS 2
#define IP_TOS 1
#define IP_TTL 2
#define IP_RECVTTL 12
#define IP_RECVTOS 13
#define IPV6_UNICAST_HOPS 16
#define IPV6_RECVHOPLIMIT 51
#define IPV6_HOPLIMIT 52
#define IPV6_RECVTCLASS 66
#define IPV6_TCLASS 67
#define HOPS 64                 /* unless it is told otherwise */
#define CONTROL_MAX 20480U      /* as Linux's optmem_max */

struct cmsg { u64 length; i32 level, type; };

static i64 take_rights(struct control *c, u64 user, u64 size) {
    i32 fds[RIGHTS_MAX];
    u64 count = size / sizeof *fds;

    if (count > RIGHTS_MAX)
        return -EINVAL;
    if (copy_in(fds, user, count * sizeof *fds))
        return -EFAULT;
    return count ? rights_gather(&c->rights, fds, count) : 0;
}

/* Only root may pretend to be another. */
static i64 take_sender(struct control *c, u64 user, u64 size) {
    struct credentials own = own_credentials(), *s = &c->sender;

    if (size != sizeof *s)
        return -EINVAL;
    if (copy_in(s, user, sizeof *s))
        return -EFAULT;
    c->has_sender = true;
    if (is_root())
        return process_of(s->pid) ? 0 : -ESRCH;
    return s->pid == own.pid && s->uid == own.uid && s->gid == own.gid ? 0 : -EPERM;
}

/* One of the two numbers of a packet's header, for this packet alone. */
static i64 take_number(i32 *number, u64 user, u64 size) {
    if (size != sizeof *number)
        return -EINVAL;
    if (copy_in(number, user, sizeof *number))
        return -EFAULT;
    return *number < -1 || *number > 255 ? -EINVAL : 0;
}

static i64 take_of_ip(struct control *c, const struct cmsg *head, u64 user, u64 size) {
    if (head->level == IPPROTO_IPV6)
        return head->type == IPV6_HOPLIMIT ? take_number(&c->hops, user, size) : head->type == IPV6_TCLASS ? take_number(&c->class, user, size) : -EINVAL;
    if (head->level == IPPROTO_IP)
        return head->type == IP_TTL ? take_number(&c->hops, user, size) : head->type == IP_TOS ? take_number(&c->class, user, size) : -EINVAL;
    return 0;
}

/* What the socket says, unless the message says otherwise; -1 asks for the usual. */
void control_complete(const struct socket *s, struct control *c) {
    bool old = s->family->domain == AF_INET;

    if (c->hops < 0)
        c->hops = option_of(s->option, old ? IPPROTO_IP : IPPROTO_IPV6, old ? IP_TTL : IPV6_UNICAST_HOPS);
    if (c->class < 0)
        c->class = option_of(s->option, old ? IPPROTO_IP : IPPROTO_IPV6, old ? IP_TOS : IPV6_TCLASS);
    c->hops = c->hops < 0 ? HOPS : c->hops;
    c->class = MAX(c->class, 0);
}

static i64 take_all(struct control *c, u64 user, u64 size) {
    struct cmsg head;
    i64 error = 0;

    for (u64 at = 0; !error && at + sizeof head <= size; at += ROUND_UP(head.length, 8)) {
        if (copy_in(&head, user + at, sizeof head))
            return -EFAULT;
        if (head.length < sizeof head || head.length > size - at)
            return -EINVAL;
        u64 body = user + at + sizeof head, n = head.length - sizeof head;
        error = head.level != SOL_SOCKET ? take_of_ip(c, &head, body, n) : head.type == SCM_RIGHTS ? take_rights(c, body, n) : head.type == SCM_CREDENTIALS ? take_sender(c, body, n) : -EINVAL;
    }
    return error;
}

i64 control_in(struct control *c, u64 user, u64 size) {
    i64 error = size > CONTROL_MAX ? -ENOBUFS : take_all(c, user, size);

    if (error) {
        rights_drop(c->rights);
        c->rights = NULL;
    }
    return error;
}

/* One record behind what is there already. */
static i64 put(u64 user, u64 room, u64 *used, u32 *flags, i32 level, i32 type, const void *body, u64 n) {
    struct cmsg head = {sizeof head + n, level, type};

    if (*used + head.length > room) {
        *flags |= MSG_CTRUNC;
        if (*used + sizeof head > room)
            return 0;
        head.length = room - *used;
    }
    if (copy_out(user + *used, &head, sizeof head) || copy_out(user + *used + sizeof head, body, head.length - sizeof head))
        return -EFAULT;
    *used += MIN(ROUND_UP(head.length, 8), room - *used);
    return 0;
}

static bool asks(const struct socket *s, u32 level, u32 option) { return option_of(s->option, level, option); }

static i64 put_of_ip(const struct socket *s, const struct control *c, u64 user, u64 room, u64 *used, u32 *flags) {
    i64 error = 0;

    if (s->family->domain == AF_INET) {
        if (asks(s, IPPROTO_IP, IP_RECVTTL))
            error = put(user, room, used, flags, IPPROTO_IP, IP_TTL, &c->hops, sizeof c->hops);
        if (!error && asks(s, IPPROTO_IP, IP_RECVTOS))
            error = put(user, room, used, flags, IPPROTO_IP, IP_TOS, &c->class, 1);
        return error;
    }
    if (asks(s, IPPROTO_IPV6, IPV6_RECVHOPLIMIT))
        error = put(user, room, used, flags, IPPROTO_IPV6, IPV6_HOPLIMIT, &c->hops, sizeof c->hops);
    if (!error && asks(s, IPPROTO_IPV6, IPV6_RECVTCLASS))
        error = put(user, room, used, flags, IPPROTO_IPV6, IPV6_TCLASS, &c->class, sizeof c->class);
    return error;
}

i64 control_out(const struct socket *s, struct control *c, u64 user, u64 *size, u32 *flags) {
    i32 fds[RIGHTS_MAX];
    u64 room = *size, used = 0;
    i64 error = 0;

    if (option_of(s->option, SOL_SOCKET, SO_PASSCRED) && is_local(s))
        error = put(user, room, &used, flags, SOL_SOCKET, SCM_CREDENTIALS, &c->sender, sizeof c->sender);
    if (s->type == SOCK_DGRAM && (s->family->domain == AF_INET || s->family->domain == AF_INET6))
        error = put_of_ip(s, c, user, room, &used, flags);
    if (c->rights) {
        u64 left = room - used, fit = left > sizeof(struct cmsg) ? (left - sizeof(struct cmsg)) / sizeof *fds : 0;
        u64 sent = c->rights->count, got = rights_install(c->rights, fds, MIN(fit, RIGHTS_MAX), *flags & MSG_CMSG_CLOEXEC);
        c->rights = NULL;
        if (got < sent)
            *flags |= MSG_CTRUNC;
        if (!error && got)
            error = put(user, room, &used, flags, SOL_SOCKET, SCM_RIGHTS, fds, got * sizeof *fds);
    }
    *size = used;
    return error;
}
