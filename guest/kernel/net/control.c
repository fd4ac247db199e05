/* SCM_RIGHTS and SCM_CREDENTIALS, from and to the program. */
#include "control.h"

#include "kernel.h"
#include "mm/slab.h"
#include "mm/vm.h"
#include "rights.h"
#include "task/ids.h"
#include "task/process.h"

#define SCM_RIGHTS 1
#define SCM_CREDENTIALS 2
#define FILES_MAX 253U          /* Linux's SCM_MAX_FD */
#define CONTROL_MAX 20480U      /* as Linux's optmem_max */

struct cmsg { u64 length; i32 level, type; };

static i64 take_rights(struct control *c, u64 user, u64 size) {
    i32 fds[FILES_MAX];
    u64 count = size / sizeof *fds;

    if (count > FILES_MAX || c->rights)
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

static i64 take_all(struct control *c, u64 user, u64 size) {
    struct cmsg head;
    i64 error = 0;

    for (u64 at = 0; !error && at + sizeof head <= size; at += ROUND_UP(head.length, 8)) {
        if (copy_in(&head, user + at, sizeof head))
            return -EFAULT;
        if (head.length < sizeof head || head.length > size - at)
            return -EINVAL;
        if (head.level != SOL_SOCKET)
            continue;
        u64 body = user + at + sizeof head, n = head.length - sizeof head;
        error = head.type == SCM_RIGHTS ? take_rights(c, body, n) : head.type == SCM_CREDENTIALS ? take_sender(c, body, n) : -EINVAL;
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
static i64 put(u64 user, u64 room, u64 *used, u32 *flags, i32 type, const void *body, u64 n) {
    struct cmsg head = {sizeof head + n, SOL_SOCKET, type};

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

i64 control_out(const struct socket *s, struct control *c, u64 user, u64 *size, u32 *flags) {
    i32 fds[FILES_MAX];
    u64 room = *size, used = 0;
    i64 error = 0;

    if (option_of(s->option, SOL_SOCKET, SO_PASSCRED) && is_local(s))
        error = put(user, room, &used, flags, SCM_CREDENTIALS, &c->sender, sizeof c->sender);
    if (c->rights) {
        u64 left = room - used, fit = left > sizeof(struct cmsg) ? (left - sizeof(struct cmsg)) / sizeof *fds : 0;
        u64 sent = c->rights->count, got = rights_install(c->rights, fds, MIN(fit, FILES_MAX), *flags & MSG_CMSG_CLOEXEC);
        c->rights = NULL;
        if (got < sent)
            *flags |= MSG_CTRUNC;
        if (!error && got)
            error = put(user, room, &used, flags, SCM_RIGHTS, fds, got * sizeof *fds);
    }
    *size = used;
    return error;
}
