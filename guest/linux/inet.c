/* AF_INET and AF_INET6 on the loopback interface: TCP and UDP, addresses and ports, ends and errors. */
#include "sockets.h"

#define IPPROTO_IP 0
#define IPPROTO_TCP 6
#define IPPROTO_IPV6 41
#define TCP_NODELAY 1
#define IPV6_V6ONLY 26
#define EPOLLET (1u << 31)

struct name { u16 family; u8 port[2], ip[4]; union { u8 pad[8]; struct { u8 ip6[16]; u32 scope; }; }; };

static char buffer[1 << 17];
static struct name found;
static u32 size;

static u32 ip_of(struct name *n, i32 family, u32 ip, u32 port) {
    memset(n, 0, sizeof *n);
    n->family = (u16)family;
    n->port[0] = (u8)(port >> 8), n->port[1] = (u8)port;
    if (family == AF_INET) {
        for (i32 i = 0; i < 4; i++)
            n->ip[i] = (u8)(ip >> (24 - 8 * i));
        return 16;
    }
    if (ip > 1) {                                       /* an address of IPv4, mapped */
        n->ip6[10] = n->ip6[11] = 0xff;
        for (i32 i = 0; i < 4; i++)
            n->ip6[12 + i] = (u8)(ip >> (24 - 8 * i));
    } else {
        n->ip6[15] = (u8)ip;
    }
    return 28;
}

#define LOOPBACK 0x7f000001u
#define V6 1u

static i64 binds(i64 fd, i32 family, u32 ip, u32 port) {
    struct name n;
    u32 length = ip_of(&n, family, ip, port);

    return syscall(SYS_bind, fd, &n, length);
}

static i64 connects(i64 fd, i32 family, u32 ip, u32 port) {
    struct name n;
    u32 length = ip_of(&n, family, ip, port);

    return syscall(SYS_connect, fd, &n, length);
}

static i64 sends(i64 fd, i32 family, u32 ip, u32 port, const char *what) {
    struct name n;
    u32 length = ip_of(&n, family, ip, port);

    return syscall(SYS_sendto, fd, what, strlen(what), MSG_DONTWAIT, &n, length);
}

static u32 port_of(i64 fd) {
    struct name n;
    u32 length = sizeof n;

    return syscall(SYS_getsockname, fd, &n, &length) ? 0 : (u32)(n.port[0] << 8 | n.port[1]);
}

static void show_ip(const char *what, i64 result) {
    print("%s: %ld, %u bytes, family %d, ", what, result, size, found.family);
    if (found.family == AF_INET)
        print("%d.%d.%d.%d", found.ip[0], found.ip[1], found.ip[2], found.ip[3]);
    for (i32 i = 0; found.family == AF_INET6 && i < 16; i++)
        print("%x ", found.ip6[i]);
    print(", port %s\n", found.port[0] | found.port[1] ? "given" : "none");
    memset(&found, 0, sizeof found);
}

#define SHOW_NAME(call, fd) (size = sizeof found, show_ip(#call, syscall(call, fd, &found, &size)))

static i64 listens(i32 family, u32 ip, i32 backlog) {
    i64 fd = syscall(SYS_socket, family, STREAM, 0);

    if (binds(fd, family, ip, 0) || syscall(SYS_listen, fd, backlog))
        print("cannot listen\n");
    return fd;
}

static void making(void) {
    i64 s, t;

    print("-- making\n");
    CALL(SYS_socket, AF_INET, SEQPACKET, 0);
    CALL(SYS_socket, AF_INET, STREAM, 17);
    CALL(SYS_socket, AF_INET, DGRAM, 6);
    CALL(SYS_socketpair, AF_INET, STREAM, 0, &s);
    s = syscall(SYS_socket, AF_INET, STREAM, 0), t = syscall(SYS_socket, AF_INET6, DGRAM, 17);
    print("%d %d %d, %d %d %d\n", option(s, SOL_SOCKET, SO_DOMAIN), option(s, SOL_SOCKET, SO_TYPE), option(s, SOL_SOCKET, SO_PROTOCOL),
          option(t, SOL_SOCKET, SO_DOMAIN), option(t, SOL_SOCKET, SO_TYPE), option(t, SOL_SOCKET, SO_PROTOCOL));
    SHOW_NAME(SYS_getsockname, s);
    SHOW_NAME(SYS_getpeername, s);
    SHOW_NAME(SYS_getsockname, t);
    RESULT(binds(s, AF_UNIX, 0, 0));
    RESULT(binds(s, AF_INET6, 0, 0));
    CALL(SYS_bind, s, buffer, 3);
    RESULT(binds(s, AF_INET, 0x08080808, 0));
    RESULT(binds(s, AF_INET, LOOPBACK, 0));
    RESULT(binds(s, AF_INET, LOOPBACK, 0));
    SHOW_NAME(SYS_getsockname, s);
    RESULT(binds(t, AF_INET6, V6, 0));
    SHOW_NAME(SYS_getsockname, t);
    closes(s), closes(t);
}

static void ports(void) {
    i64 a = syscall(SYS_socket, AF_INET, STREAM, 0), b = syscall(SYS_socket, AF_INET, STREAM, 0), c = syscall(SYS_socket, AF_INET6, STREAM, 0);
    i32 one = 1;

    print("-- ports\n");
    RESULT(binds(a, AF_INET, LOOPBACK, 0));
    u32 port = port_of(a);
    RESULT(binds(b, AF_INET, LOOPBACK, port));
    RESULT(binds(b, AF_INET, 0, port));
    RESULT(binds(c, AF_INET6, V6, port));               /* another address */
    closes(c);
    c = syscall(SYS_socket, AF_INET6, STREAM, 0);
    RESULT(binds(c, AF_INET6, 0, port));                /* covers the other family, too */
    CALL(SYS_setsockopt, c, IPPROTO_IPV6, IPV6_V6ONLY, &one, 4);
    RESULT(binds(c, AF_INET6, 0, port));
    CALL(SYS_setsockopt, c, IPPROTO_IPV6, IPV6_V6ONLY, &one, 4);
    i64 u = syscall(SYS_socket, AF_INET, DGRAM, 0);
    RESULT(binds(u, AF_INET, LOOPBACK, port));          /* UDP counts its own */
    CALL(SYS_setsockopt, a, SOL_SOCKET, SO_REUSEADDR, &one, 4);
    RESULT(binds(b, AF_INET, LOOPBACK, port));
    CALL(SYS_setsockopt, b, SOL_SOCKET, SO_REUSEADDR, &one, 4);
    RESULT(binds(b, AF_INET, LOOPBACK, port));
    CALL(SYS_listen, a, 1);
    CALL(SYS_listen, b, 1);
    closes(b);
    b = syscall(SYS_socket, AF_INET, STREAM, 0);
    syscall(SYS_setsockopt, b, SOL_SOCKET, SO_REUSEADDR, &one, 4);
    RESULT(binds(b, AF_INET, LOOPBACK, port));
    RESULT(binds(b, AF_INET, 0x7f000002, port));
    closes(a), closes(b), closes(c), closes(u);
}

static void connections(i32 family, u32 ip) {
    i64 s = listens(family, ip, 5), t = syscall(SYS_socket, family, STREAM, 0), a;
    i32 n = 0;

    print("-- connections, family %d\n", family);
    show_ready("fresh", t);
    show_ready("listening", s);
    CALL(SYS_read, t, buffer, 1);
    CALL(SYS_read, s, buffer, 1);
    CALL(SYS_accept, t, NULL, NULL);
    CALL(SYS_fcntl, s, F_SETFL, O_NONBLOCK);
    CALL(SYS_accept, s, NULL, NULL);
    RESULT(connects(t, AF_UNIX, 0, 1));
    RESULT(connects(t, family, ip, port_of(s)));
    RESULT(connects(t, family, ip, port_of(s)));
    show_ready("listening", s);
    show_ready("connected", t);
    CALL(SYS_write, t, "early", 5);
    size = sizeof found;
    show_ip("accept", a = syscall(SYS_accept4, s, &found, &size, O_CLOEXEC));
    CALL(SYS_fcntl, a, F_GETFD, 0);
    SHOW_NAME(SYS_getsockname, a), SHOW_NAME(SYS_getpeername, a);
    SHOW_NAME(SYS_getsockname, t), SHOW_NAME(SYS_getpeername, t);
    CHECK(port_of(a) == port_of(s));
    CALL(SYS_ioctl, a, FIONREAD, &n);
    print("%d to read\n", n);
    CALL(SYS_recvfrom, a, buffer, 2, MSG_PEEK, NULL, NULL);
    size = sizeof found;
    show_ip("recvfrom", syscall(SYS_recvfrom, a, buffer, 100, 0, &found, &size));
    CALL(SYS_recvfrom, a, buffer, 100, MSG_DONTWAIT, NULL, NULL);
    RESULT(sends(a, family, ip, 1, "the name does not matter"));
    CALL(SYS_read, t, buffer, 100);
    CALL(SYS_listen, t, 1);
    CALL(SYS_shutdown, t, 1);
    show_ready("half", a), show_ready("other half", t);
    CALL(SYS_read, a, buffer, 100);
    CALL(SYS_sendto, t, "x", 1, MSG_NOSIGNAL, NULL, 0);
    CALL(SYS_write, a, "still", 5);
    CALL(SYS_shutdown, a, 1);
    show_ready("both shut", a);
    CALL(SYS_read, t, buffer, 100), CALL(SYS_read, t, buffer, 100);
    closes(t), closes(a), closes(s);
}

static void ends(void) {
    i64 s = listens(AF_INET, LOOPBACK, 5), t = syscall(SYS_socket, AF_INET, STREAM, 0), a;
    struct { i32 on, seconds; } linger = {1, 0};

    print("-- ends\n");
    RESULT(connects(t, AF_INET, LOOPBACK, port_of(s)));
    a = syscall(SYS_accept, s, NULL, NULL);
    CALL(SYS_write, a, "last", 4);
    closes(a);
    show_ready("closed", t);
    CALL(SYS_write, t, "x", 1);                         /* the answer is a reset */
    show_ready("written", t);
    CALL(SYS_read, t, buffer, 2);
    CALL(SYS_write, t, "x", 1);
    CALL(SYS_write, t, "x", 1);
    CALL(SYS_read, t, buffer, 100);
    closes(t);
    t = syscall(SYS_socket, AF_INET, STREAM, 0);
    syscall(SYS_connect, t, &found, 0);
    RESULT(connects(t, AF_INET, LOOPBACK, port_of(s)));
    a = syscall(SYS_accept, s, NULL, NULL);
    CALL(SYS_write, t, "not read", 8);
    CALL(SYS_write, a, "answer", 6);
    closes(a);
    show_ready("reset", t);
    CALL(SYS_read, t, buffer, 100);
    CALL(SYS_read, t, buffer, 100);
    CALL(SYS_write, t, "x", 1);
    SHOW_NAME(SYS_getpeername, t);
    closes(t);
    t = syscall(SYS_socket, AF_INET, STREAM, 0);
    RESULT(connects(t, AF_INET, LOOPBACK, port_of(s)));
    a = syscall(SYS_accept, s, NULL, NULL);
    CALL(SYS_setsockopt, a, SOL_SOCKET, SO_LINGER, &linger, 8);
    closes(a);
    show_ready("lingered", t);
    print("error %d, then %d\n", option(t, SOL_SOCKET, SO_ERROR), option(t, SOL_SOCKET, SO_ERROR));
    CALL(SYS_read, t, buffer, 100);
    closes(t);
    t = syscall(SYS_socket, AF_INET, STREAM, 0);
    RESULT(connects(t, AF_INET, LOOPBACK, port_of(s)));
    closes(s);                                          /* never accepted */
    CALL(SYS_read, t, buffer, 100);
    closes(t);
}

static void refused(void) {
    i64 s = listens(AF_INET, LOOPBACK, 5), t = syscall(SYS_socket, AF_INET, STREAM, 0);
    u32 port = port_of(s);

    print("-- refused\n");
    closes(s);
    RESULT(connects(t, AF_INET, LOOPBACK, port));
    show_ready("refused", t);
    RESULT(connects(t, AF_INET, LOOPBACK, port));
    CALL(SYS_write, t, "x", 1);
    closes(t);
    t = syscall(SYS_socket, AF_INET, STREAM | O_NONBLOCK, 0);
    RESULT(connects(t, AF_INET, LOOPBACK, port));
    show_ready("refused later", t);
    print("error %d, then %d\n", option(t, SOL_SOCKET, SO_ERROR), option(t, SOL_SOCKET, SO_ERROR));
    RESULT(connects(t, AF_INET, LOOPBACK, port));
    RESULT(connects(t, AF_INET, LOOPBACK, port));
    RESULT(connects(t, AF_INET, LOOPBACK, port));
    s = listens(AF_INET, LOOPBACK, 5);
    closes(t);
    t = syscall(SYS_socket, AF_INET, STREAM | O_NONBLOCK, 0);
    RESULT(connects(t, AF_INET, LOOPBACK, port_of(s)));
    show_ready("connected later", t);
    print("error %d\n", option(t, SOL_SOCKET, SO_ERROR));
    RESULT(connects(t, AF_INET, LOOPBACK, port_of(s)));
    RESULT(connects(t, AF_INET, LOOPBACK, port_of(s)));
    closes(s), closes(t);
}

/* One listener for both families. */
static void both(void) {
    i64 s = listens(AF_INET6, 0, 5), t = syscall(SYS_socket, AF_INET, STREAM, 0), u = syscall(SYS_socket, AF_INET6, STREAM, 0), a;

    print("-- both families\n");
    SHOW_NAME(SYS_getsockname, s);
    RESULT(connects(t, AF_INET, LOOPBACK, port_of(s)));
    size = sizeof found;
    show_ip("accept", a = syscall(SYS_accept, s, &found, &size));
    SHOW_NAME(SYS_getsockname, a);
    SHOW_NAME(SYS_getpeername, t);
    closes(a), closes(t);
    RESULT(connects(u, AF_INET6, LOOPBACK, port_of(s)));
    SHOW_NAME(SYS_getsockname, u), SHOW_NAME(SYS_getpeername, u);
    closes(u), closes(s);
    s = listens(AF_INET, 0, 5);
    u = syscall(SYS_socket, AF_INET6, STREAM, 0);
    RESULT(connects(u, AF_INET6, V6, port_of(s)));
    closes(u);
    u = syscall(SYS_socket, AF_INET6, STREAM, 0);
    RESULT(connects(u, AF_INET6, LOOPBACK, port_of(s)));
    closes(u), closes(s);
    t = syscall(SYS_socket, AF_INET, STREAM, 0);
    s = listens(AF_INET, 0, 5);
    RESULT(connects(t, AF_INET, 0, port_of(s)));        /* any address is this machine */
    SHOW_NAME(SYS_getpeername, t);
    closes(t), closes(s);
}

static void datagrams(i32 family, u32 ip) {
    i64 a = syscall(SYS_socket, family, DGRAM, 0), b = syscall(SYS_socket, family, DGRAM, 0), c = syscall(SYS_socket, family, DGRAM, 0);
    u16 unspecified[8] = {0};

    print("-- datagrams, family %d\n", family);
    show_ready("fresh", a);
    CALL(SYS_listen, a, 1);
    CALL(SYS_accept, a, NULL, NULL);
    CALL(SYS_write, c, "x", 1);
    CHECK(port_of(c) != 0);
    RESULT(binds(a, family, ip, 0));
    u32 port = port_of(a);
    RESULT(sends(b, family, ip, port, "hello"));
    CHECK(port_of(b) != 0);
    show_ready("came", a);
    size = sizeof found;
    show_ip("peek", syscall(SYS_recvfrom, a, buffer, 3, MSG_PEEK | MSG_TRUNC, &found, &size));
    size = sizeof found;
    show_ip("recvfrom", syscall(SYS_recvfrom, a, buffer, 100, 0, &found, &size));
    print("%s\n", text(buffer, 5));
    RESULT(sends(a, family, ip, port_of(b), "back"));
    CALL(SYS_read, b, buffer, 100);
    CALL(SYS_recvfrom, a, buffer, 100, MSG_DONTWAIT, NULL, NULL);
    RESULT(sends(b, family, ip, port, ""));
    CALL(SYS_read, a, buffer, 100);
    RESULT(connects(b, family, ip, port));
    SHOW_NAME(SYS_getpeername, b), SHOW_NAME(SYS_getsockname, b);
    CALL(SYS_write, b, buffer, family == AF_INET ? 65508 : 65528);
    CALL(SYS_write, b, buffer, 60000);
    CALL(SYS_read, a, buffer, 100);                     /* the rest is lost */
    RESULT(sends(c, family, ip, port_of(b), "stranger"));
    CALL(SYS_recvfrom, b, buffer, 100, MSG_DONTWAIT, NULL, NULL);
    RESULT(connects(c, family, ip, port));
    closes(a);
    CALL(SYS_write, c, "x", 1);                         /* nobody there: the next call hears of it */
    show_ready("nobody", c);
    CALL(SYS_write, c, "x", 1);
    CALL(SYS_write, c, "x", 1);
    CALL(SYS_recvfrom, c, buffer, 100, MSG_DONTWAIT, NULL, NULL);
    CALL(SYS_recvfrom, c, buffer, 100, MSG_DONTWAIT, NULL, NULL);
    CALL(SYS_connect, c, unspecified, 16);
    SHOW_NAME(SYS_getpeername, c);
    CALL(SYS_write, c, "x", 1);
    RESULT(sends(c, family, ip, port, "nobody tells"));
    CALL(SYS_recvfrom, c, buffer, 100, MSG_DONTWAIT, NULL, NULL);
    RESULT(sends(c, family, ip, 0, "x"));
    CALL(SYS_shutdown, c, 2);                           /* it says no, and does it */
    RESULT(sends(c, family, ip, port, "x"));
    CALL(SYS_read, c, buffer, 100);
    closes(b), closes(c);
}

struct control { u64 length; i32 level, type, value, pad; };

/* The hop limit and the traffic class of a datagram: of its socket, or of the one message. */
static void headers(i32 family, u32 ip, i32 level, i32 ask_hops, i32 ask_class, i32 hops, i32 class) {
    i64 a = syscall(SYS_socket, family, DGRAM, 0), b = syscall(SYS_socket, family, DGRAM, 0);
    struct control in[2], out = {20, level, hops, 7, 0};
    struct io io = {"x", 1};
    struct message m = {NULL, 0, 0, &io, 1, &out, sizeof out, 0, 0};
    i32 one = 1;

    print("-- headers, family %d\n", family);
    binds(a, family, ip, 0);
    CALL(SYS_setsockopt, a, level, ask_hops, &one, 4);
    CALL(SYS_setsockopt, a, level, ask_class, &one, 4);
    connects(b, family, ip, port_of(a));
    for (i32 i = 0; i < 3; i++) {
        m.io = &io, m.control = &out, m.control_length = i == 1 ? sizeof out : 0;
        i32 value = 0x20;
        if (i == 2)
            syscall(SYS_setsockopt, b, level, class, &value, 4);
        CALL(SYS_sendmsg, b, &m, 0);
        memset(in, 0, sizeof in);
        m.io = &(struct io){buffer, 10}, m.control = in, m.control_length = sizeof in;
        CALL(SYS_recvmsg, a, &m, 0);
        print("%lu:", m.control_length);
        for (u64 k = 0; k * sizeof *in < m.control_length; k++)
            print(" level %d type %d, %lu bytes: %d", in[k].level, in[k].type, in[k].length, in[k].length == 17 ? in[k].value & 255 : in[k].value);
        print("\n");
    }
    out.value = 300, m.io = &io, m.control = &out, m.control_length = sizeof out;
    CALL(SYS_sendmsg, b, &m, 0);
    closes(a), closes(b);
}

static void lite(void) {
    i64 a = syscall(SYS_socket, AF_INET, DGRAM, 136), b = syscall(SYS_socket, AF_INET, DGRAM, 136), c = syscall(SYS_socket, AF_INET, DGRAM, 0);

    print("-- lite\n");
    if (a < 0) {                                        /* a kernel may be without it */
        print("%s\n%s\n%s\n", "5", "5", "-11");
        return;
    }
    binds(a, AF_INET, LOOPBACK, 0);
    print("%ld\n", sends(b, AF_INET, LOOPBACK, port_of(a), "hello"));
    print("%ld\n", syscall(SYS_recvfrom, a, buffer, 100, MSG_DONTWAIT, NULL, NULL));
    sends(c, AF_INET, LOOPBACK, port_of(a), "other");
    print("%ld\n", syscall(SYS_recvfrom, a, buffer, 100, MSG_DONTWAIT, NULL, NULL));
    closes(a), closes(b), closes(c);
}

static void options(void) {
    i64 s = syscall(SYS_socket, AF_INET, STREAM, 0);
    i32 value = 1;

    print("-- options\n");
    print("%d", option(s, IPPROTO_TCP, TCP_NODELAY));
    CALL(SYS_setsockopt, s, IPPROTO_TCP, TCP_NODELAY, &value, 4);
    print("%d\n", option(s, IPPROTO_TCP, TCP_NODELAY));
    value = 5;
    CALL(SYS_setsockopt, s, SOL_SOCKET, SO_REUSEADDR, &value, 4);
    print("%d\n", option(s, SOL_SOCKET, SO_REUSEADDR));
    value = 20000;
    CALL(SYS_setsockopt, s, SOL_SOCKET, SO_SNDBUF, &value, 4);
    print("%d\n", option(s, SOL_SOCKET, SO_SNDBUF));
    value = 0;
    CALL(SYS_setsockopt, s, SOL_SOCKET, SO_SNDBUF, &value, 4);
    print("%d\n", option(s, SOL_SOCKET, SO_SNDBUF));
    CALL(SYS_setsockopt, s, IPPROTO_TCP, TCP_NODELAY, &value, 2);
    print("%d %d %d\n", option(s, IPPROTO_TCP, 999), option(s, IPPROTO_IPV6, IPV6_V6ONLY), option(s, 77, 1));
    CALL(SYS_setsockopt, s, 77, 1, &value, 4);
    print("%d %d %d\n", option(s, IPPROTO_IP, 2), option(s, IPPROTO_IP, 1), option(s, SOL_SOCKET, SO_ACCEPTCONN));
    closes(s);
}

/* An echo server that waits in epoll for all of them; forty callers from four processes. */
static void server(void) {
    struct { u32 events; u64 data; } __attribute__((packed)) event = {POLLIN, 0}, events[16];
    i64 s = listens(AF_INET, LOOPBACK, 64), ep = syscall(SYS_epoll_create1, 0);
    u32 served = 0, bytes = 0, open = 0, port = port_of(s);

    print("-- server\n");
    for (i32 k = 0; k < 4; k++)
        if (fork() == 0) {
            for (i32 i = 0; i < 10; i++) {
                i64 c = syscall(SYS_socket, AF_INET, STREAM, 0), n, got = 0;
                if (connects(c, AF_INET, LOOPBACK, port))
                    print("no connection\n");
                for (i32 part = 0; part < 3; part++)
                    syscall(SYS_write, c, "some bytes to be sent back", 26);
                syscall(SYS_shutdown, c, 1);
                while ((n = syscall(SYS_read, c, buffer, 100)) > 0)
                    got += n;
                if (got != 78)
                    print("%ld came back\n", got);
                closes(c);
            }
            quit(0);
        }
    syscall(SYS_fcntl, s, F_SETFL, O_NONBLOCK);
    event.data = (u64)s;
    syscall(SYS_epoll_ctl, ep, 1, s, &event);
    while (served < 40 || open) {
        i64 n = syscall(SYS_epoll_wait, ep, events, 16, -1);
        for (i64 i = 0; i < n; i++) {
            i64 fd = (i64)events[i].data, got;
            if (fd == s) {
                while ((fd = syscall(SYS_accept4, s, NULL, NULL, O_NONBLOCK)) >= 0) {
                    event = (typeof(event)){POLLIN | EPOLLET, (u64)fd};
                    syscall(SYS_epoll_ctl, ep, 1, fd, &event);
                    served++, open++;
                }
                continue;
            }
            while ((got = syscall(SYS_read, fd, buffer, 1000)) > 0) {
                syscall(SYS_write, fd, buffer, got);
                bytes += (u32)got;
            }
            if (!got)
                open--, closes(fd);
        }
    }
    print("%u served, %u bytes\n", served, bytes);
    for (i32 k = 0; k < 4; k++)
        reap("client", -1);
    closes(s), closes(ep);
}

static void much(void) {
    i64 s = listens(AF_INET6, V6, 1), t = syscall(SYS_socket, AF_INET6, STREAM, 0), n, total = 0;
    u64 sum = 0;

    print("-- much\n");
    RESULT(connects(t, AF_INET6, V6, port_of(s)));
    if (fork() == 0) {
        for (u64 i = 0; i < sizeof buffer; i++)
            buffer[i] = (char)(i * 11 + i / 512);
        for (i32 i = 0; i < 20; i++)
            if (syscall(SYS_write, t, buffer, sizeof buffer) != sizeof buffer)
                print("all is taken\n");
        quit(0);
    }
    closes(t);
    i64 a = syscall(SYS_accept, s, NULL, NULL);
    nap(10);
    while ((n = syscall(SYS_recvfrom, a, buffer, 100000, MSG_WAITALL, NULL, NULL)) > 0)
        sum = checksum(sum, buffer, (u64)n), total += n;
    print("%ld bytes, sum %lx\n", total, sum);
    reap("sender", -1);
    closes(a), closes(s);
}

int main(int argc, char **argv) {
    (void)argc, (void)argv;
    apart();
    handle(SIGPIPE, SIG_IGN, 0, 0);
    making();
    ports();
    connections(AF_INET, LOOPBACK);
    connections(AF_INET6, V6);
    ends();
    refused();
    both();
    datagrams(AF_INET, LOOPBACK);
    datagrams(AF_INET6, V6);
    headers(AF_INET, LOOPBACK, IPPROTO_IP, 12, 13, 2, 1);
    headers(AF_INET6, V6, IPPROTO_IPV6, 51, 66, 52, 67);
    lite();
    options();
    server();
    much();
    return 42;
}
