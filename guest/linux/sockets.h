/* What the tests of sockets share. */
#ifndef SOCKETS_H
#define SOCKETS_H

#include "linux.h"

#define SYS_connect 42
#define SYS_accept 43
#define SYS_bind 49
#define SYS_listen 50
#define SYS_getsockname 51
#define SYS_getpeername 52
#define SYS_getsockopt 55
#define SYS_accept4 288
#define SYS_recvmmsg 299
#define SYS_sendmmsg 307

#define AF_UNIX 1
#define AF_INET 2
#define AF_INET6 10
#define AF_NETLINK 16
#define STREAM 1
#define DGRAM 2
#define RAW 3
#define SEQPACKET 5
#define MSG_PEEK 2
#define MSG_CTRUNC 8
#define MSG_TRUNC 0x20
#define MSG_DONTWAIT 0x40
#define MSG_WAITALL 0x100
#define MSG_NOSIGNAL 0x4000
#define SOL_SOCKET 1
#define SO_REUSEADDR 2
#define SO_TYPE 3
#define SO_ERROR 4
#define SO_SNDBUF 7
#define SO_LINGER 13
#define SO_REUSEPORT 15
#define SO_PASSCRED 16
#define SO_PEERCRED 17
#define SO_RCVTIMEO 20
#define SO_SNDTIMEO 21
#define SO_ACCEPTCONN 30
#define SO_PROTOCOL 38
#define SO_DOMAIN 39
#define POLLIN 1
#define POLLOUT 4
#define POLLRDHUP 0x2000

struct io { void *base; u64 n; };
struct message { void *name; u32 name_length, pad; struct io *io; u64 ios; void *control; u64 control_length; i32 flags, pad2; };

/* What poll() says of it, asked for all that there is. */
static inline void show_ready(const char *what, i64 fd) {
    struct pollfd p = {(i32)fd, 0x7fff, 0};

    i64 n = syscall(SYS_poll, &p, 1, 0);
    print("%s: %ld, %x\n", what, n, p.revents);
}

static inline i32 option(i64 fd, i32 level, i32 number) {
    i32 value = -1, size = 4;
    i64 result = syscall(SYS_getsockopt, fd, level, number, &value, &size);

    return result ? (i32)result : value;
}

#endif
