/* A socket of a pair (socket.c), and what the calls need of it (sys_socket.c). */
#ifndef SOCKET_H
#define SOCKET_H

#include "fs/file.h"

#define AF_UNIX 1

struct socket {
    struct pipe *in, *out;      /* the other's out and in */
    struct socket *peer;        /* NULL once it is closed */
    u32 type;
};

static inline struct socket *socket_of(const struct file *f) { return f->own; }

bool is_socket(const struct file *);
/* `*size`: of the message, of which n may be less. */
i64 socket_receive(struct socket *, u8 *to, u64 n, bool wait, bool peek, u32 *size);
i64 socket_transmit(struct socket *, const u8 *from, u64 n, bool wait, bool loud);      /* loud: with SIGPIPE */
void socket_drop_rights(struct socket *);               /* who does not ask for the files that came with what was read loses them */
i64 socket_move_vector(struct file *, u64 vector, u64 count, bool send);

#endif
