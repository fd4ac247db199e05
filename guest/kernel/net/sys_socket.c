/* sendmsg, recvmsg and their kin, and socket options. */
#include "fs/inode.h"
#include "ipc/pipe.h"
#include "kernel.h"
#include "mm/slab.h"
#include "mm/vm.h"
#include "rights.h"
#include "socket.h"
#include "syscall/syscalls.h"
#include "task/process.h"

#define SHUT_RD 0
#define SHUT_RDWR 2
#define MSG_PEEK 2
#define MSG_TRUNC 0x20
#define MSG_DONTWAIT 0x40
#define MSG_NOSIGNAL 0x4000
#define MSG_CMSG_CLOEXEC 0x40000000
#define SOL_SOCKET 1
#define SO_TYPE 3
#define SO_ERROR 4
#define SO_SNDBUF 7
#define SO_RCVBUF 8
#define SO_DOMAIN 39
/* DEBUG, REUSEADDR, DONTROUTE, BROADCAST, the buffers' sizes (hints), KEEPALIVE, OOBINLINE, NO_CHECK, PRIORITY, LINGER:
 * a pair of sockets is the same with and without. */
#define MEANS_NOTHING_HERE 0x3fe6UL

static i64 socket_at(i32 fd, struct file **f) {
    *f = file_at(fd);
    return !*f ? -EBADF : is_socket(*f) ? 0 : -ENOTSOCK;
}

i64 sys_shutdown(i32 fd, u32 how) {
    struct file *f;
    i64 error = socket_at(fd, &f);

    if (error || how > SHUT_RDWR)
        return error ? error : -EINVAL;
    struct socket *s = socket_of(f);
    if (how != 1)
        s->in->readers = s->in->writers = 0;
    if (how != SHUT_RD)
        s->out->writers = s->out->readers = 0;
    file_changed(s->in);
    file_changed(s->out);
    return 0;
}

static i64 send_all(struct socket *s, const u8 *from, u64 n, bool wait, bool loud) {
    u64 done = 0;
    i64 moved;

    do {
        moved = socket_transmit(s, from + done, n - done, wait, loud);
        done += moved > 0 ? (u64)moved : 0;
    } while (moved == -ERETRY || (moved > 0 && done < n));
    return done ? (i64)done : moved;
}

static i64 receive_some(struct socket *s, u8 *to, u64 n, bool wait, bool peek, u32 *sent) {
    i64 got;

    do
        got = socket_receive(s, to, n, wait, peek, sent);
    while (got == -ERETRY);
    return got;
}

/* One message through a buffer of the kernel's. */
static i64 move_message(struct file *f, const struct iovec *v, u64 count, u32 flags, bool send, bool *truncated) {
    u32 sent = 0;
    bool wait = !(flags & MSG_DONTWAIT) && !(f->flags & O_NONBLOCK);
    u64 size = 0, at = 0;
    i64 result = 0;

    for (u64 i = 0; i < count; i++)
        size += v[i].length;
    size = MIN(size, PIPE_SIZE);
    u8 *buffer = kmalloc(size + 1);
    if (!buffer)
        return -ENOMEM;
    for (u64 i = 0; send && i < count && at < size && !result; at += v[i++].length)
        result = copy_in(buffer + at, v[i].base, MIN(v[i].length, size - at));
    if (!result)
        result = send ? send_all(socket_of(f), buffer, size, wait, !(flags & MSG_NOSIGNAL))
                      : receive_some(socket_of(f), buffer, size, wait, flags & MSG_PEEK, &sent);
    *truncated = sent > size;
    at = 0;
    for (u64 i = 0; !send && i < count && result > 0 && at < (u64)result; at += v[i++].length)
        if (copy_out(v[i].base, buffer + at, MIN(v[i].length, (u64)result - at)))
            result = -EFAULT;
    kfree(buffer);
    return result >= 0 && *truncated && flags & MSG_TRUNC ? sent : result;
}

/* In the kernel's memory, to be freed; or -errno. */
static i64 copy_in_vector(struct iovec **v, u64 vector, u64 count) {
    if (!(*v = kmalloc(MAX(count, 1) * sizeof **v)))
        return -ENOMEM;
    if (!copy_in(*v, vector, count * sizeof **v))
        return 0;
    kfree(*v);
    return -EFAULT;
}

i64 socket_move_vector(struct file *f, u64 vector, u64 count, bool send) {
    struct iovec *v;
    bool truncated;
    u64 size = 0;
    i64 result = copy_in_vector(&v, vector, count);

    if (result)
        return result;
    for (u64 i = 0; i < count; i++)
        size |= v[i].length;
    if (size)                           /* without a byte there is no message, other than by write() */
        result = move_message(f, v, count, 0, send, &truncated);
    if (!send)
        socket_drop_rights(socket_of(f));
    kfree(v);
    return result;
}

static i64 move_one(i32 fd, u64 at, u64 n, u32 flags, bool send) {
    struct iovec v = {at, n};
    bool truncated;
    struct file *f;
    i64 error = socket_at(fd, &f);

    if (error)
        return error;
    f->refs++;
    i64 moved = move_message(f, &v, 1, flags, send, &truncated);
    if (!send)
        socket_drop_rights(socket_of(f));
    file_put(f);
    return moved;
}

i64 sys_sendto(i32 fd, u64 from, u64 n, u32 flags, u64 address, u32 size) {
    (void)size;
    return address ? -EISCONN : move_one(fd, from, n, flags, true);
}

i64 sys_recvfrom(i32 fd, u64 to, u64 n, u32 flags, u64 address, u64 size) {
    u32 none = 0;

    if (address && size && copy_out(size, &none, sizeof none))
        return -EFAULT;
    return move_one(fd, to, n, flags, false);
}

struct msghdr { u64 name; u32 name_size, pad; u64 vector, count, control, control_size; u32 flags, pad2; };

static i64 move_header(struct file *f, u64 header, u32 flags, bool send) {
    struct iovec *v;
    struct msghdr m;
    bool truncated = false;
    i64 error;

    if (copy_in(&m, header, sizeof m))
        return -EFAULT;
    if (m.count > IOV_MAX)
        return -EMSGSIZE;
    if ((error = copy_in_vector(&v, m.vector, m.count)))
        return error;
    struct socket *s = socket_of(f);
    if (send && m.control_size)
        error = rights_send(s->out, m.control, m.control_size);
    i64 moved = error ? error : move_message(f, v, m.count, flags, send, &truncated);
    kfree(v);
    if (error)
        return error;
    if (send && moved <= 0)
        rights_drop(s->out, s->out->head);
    if (send || moved < 0)
        return moved;
    m.name_size = 0;
    m.flags = truncated ? MSG_TRUNC : 0;
    if ((error = rights_receive(s->in, m.control, &m.control_size, flags & MSG_CMSG_CLOEXEC)))
        return error;
    return copy_out(header, &m, sizeof m) ? -EFAULT : moved;
}

static i64 move_at(i32 fd, u64 header, u32 flags, bool send) {
    struct file *f;
    i64 error = socket_at(fd, &f);

    if (error)
        return error;
    f->refs++;
    i64 moved = move_header(f, header, flags, send);
    file_put(f);
    return moved;
}

i64 sys_sendmsg(i32 fd, u64 header, u32 flags) { return move_at(fd, header, flags, true); }
i64 sys_recvmsg(i32 fd, u64 header, u32 flags) { return move_at(fd, header, flags, false); }

i64 sys_getsockopt(i32 fd, u32 level, u32 option, u64 to, u64 size) {
    struct file *f;
    i32 room;
    i64 error = socket_at(fd, &f);

    if (error)
        return error;
    if (copy_in(&room, size, sizeof room))
        return -EFAULT;
    if (level != SOL_SOCKET || room < 0)
        return level == SOL_SOCKET ? -EINVAL : -EOPNOTSUPP;
    u32 value = option == SO_TYPE ? socket_of(f)->type : option == SO_DOMAIN ? AF_UNIX
              : option == SO_SNDBUF || option == SO_RCVBUF ? (u32)PIPE_SIZE : 0;
    u32 part = MIN((u32)room, sizeof value);
    if (option != SO_TYPE && option != SO_ERROR && option != SO_SNDBUF && option != SO_RCVBUF && option != SO_DOMAIN)
        return -ENOPROTOOPT;
    return copy_out(to, &value, part) || copy_out(size, &part, sizeof part) ? -EFAULT : 0;
}

i64 sys_setsockopt(i32 fd, u32 level, u32 option, u64 from, u32 size) {
    struct file *f;
    u32 value;
    i64 error = socket_at(fd, &f);

    if (error || level != SOL_SOCKET)
        return error ? error : -EOPNOTSUPP;
    if (size < sizeof value)
        return -EINVAL;
    if (copy_in(&value, from, sizeof value))
        return -EFAULT;
    return option < 64 && 1UL << option & MEANS_NOTHING_HERE ? 0 : -ENOPROTOOPT;
}
