/* AF_UNIX sockets with names: paths and abstract ones, listening, datagrams, packets, credentials. */
#include "sockets.h"

#define SYS_link 86
#define SYS_symlink 88
#define S_IFMT 0170000

struct name { u16 family; char path[108]; };

static char buffer[1 << 17], other[1 << 17];
static struct name from;
static u32 size;

static u32 name_of(struct name *n, const char *path) {
    u64 length = strlen(path);

    memset(n, 0, sizeof *n);
    n->family = AF_UNIX;
    memcpy(n->path, path[0] == '@' ? path + 1 : path, length);
    if (path[0] != '@')
        return (u32)(2 + length + 1);
    memset(n->path, 0, sizeof n->path);
    memcpy(n->path + 1, path + 1, length - 1);
    return (u32)(2 + length);
}

static i64 binds(i64 fd, const char *path) {
    struct name n;
    u32 length = name_of(&n, path);

    return syscall(SYS_bind, fd, &n, length);
}

static i64 connects(i64 fd, const char *path) {
    struct name n;
    u32 length = name_of(&n, path);

    return syscall(SYS_connect, fd, &n, length);
}

static i64 sends(i64 fd, const char *path, const char *what) {
    struct name n;
    u32 length = name_of(&n, path);

    return syscall(SYS_sendto, fd, what, strlen(what), MSG_DONTWAIT, &n, length);
}

static void show_name(const char *what, i64 result) {
    print("%s: %ld, %u bytes, family %d, %d %s\n", what, result, size, from.family, from.path[0], from.path + !from.path[0]);
    memset(&from, 0, sizeof from);
}

#define SHOW_NAME(call, fd) (size = sizeof from, show_name(#call, syscall(call, fd, &from, &size)))

static void names(void) {
    i64 s = syscall(SYS_socket, AF_UNIX, STREAM, 0), t = syscall(SYS_socket, AF_UNIX, STREAM | O_NONBLOCK | O_CLOEXEC, 0);
    struct stat st;

    print("-- names\n");
    CALL(SYS_fcntl, t, F_GETFL, 0);
    CALL(SYS_fcntl, t, F_GETFD, 0);
    CALL(SYS_socket, AF_UNIX, 77, 0);
    CALL(SYS_socket, AF_UNIX, 4, 0);
    CALL(SYS_socket, AF_UNIX, STREAM, 99);
    CALL(SYS_socket, 99, STREAM, 0);
    SHOW_NAME(SYS_getsockname, s);
    SHOW_NAME(SYS_getpeername, s);
    RESULT(binds(s, "here"));
    SHOW_NAME(SYS_getsockname, s);
    RESULT(binds(s, "again"));
    RESULT(binds(t, "here"));
    RESULT(binds(t, "no/here"));
    RESULT(binds(t, "."));
    CALL(SYS_bind, t, "\001\000", 2 - 1);
    CALL(SYS_bind, t, "\002\000x", 4);
    CALL(SYS_bind, t, buffer, 200);
    CALL(SYS_bind, t, 8, 10);
    CALL(SYS_bind, 99, buffer, 10);
    CALL(SYS_bind, 0, buffer, 10);
    syscall(SYS_lstat, "here", &st);
    print("mode %x, %lu links, %ld bytes\n", st.mode, st.nlink, st.size);
    CALL(SYS_open, "here", O_RDWR, 0);
    RESULT(connects(t, "here"));                        /* nobody listens */
    RESULT(connects(t, "missing"));
    syscall(SYS_close, syscall(SYS_open, "plain", O_CREAT | O_RDWR, 0600));
    RESULT(connects(t, "plain"));
    CALL(SYS_listen, t, 5);                             /* without a name */
    CALL(SYS_listen, s, 0);
    CALL(SYS_listen, s, 2);
    print("listens: %d %d\n", option(s, SOL_SOCKET, SO_ACCEPTCONN), option(t, SOL_SOCKET, SO_ACCEPTCONN));
    CALL(SYS_link, "here", "there");
    RESULT(connects(t, "there"));
    RESULT(connects(t, "there"));
    SHOW_NAME(SYS_getpeername, t);
    SHOW_NAME(SYS_getsockname, t);
    CALL(SYS_unlink, "here"), CALL(SYS_unlink, "there");
    closes(t), closes(s);
    s = syscall(SYS_socket, AF_UNIX, STREAM, 0);
    t = syscall(SYS_socket, AF_UNIX, STREAM, 0);
    RESULT(binds(s, "here"));
    syscall(SYS_listen, s, 1);
    closes(s);
    RESULT(connects(t, "here"));                        /* the name stays, and means nobody */
    CALL(SYS_unlink, "here");
    closes(t);
}

static void abstract(void) {
    i64 s = syscall(SYS_socket, AF_UNIX, STREAM, 0), t = syscall(SYS_socket, AF_UNIX, DGRAM, 0);
    u16 nothing = AF_UNIX;

    print("-- abstract\n");
    RESULT(binds(s, "@paracell-test"));
    SHOW_NAME(SYS_getsockname, s);
    i64 u = syscall(SYS_socket, AF_UNIX, STREAM, 0);
    RESULT(binds(u, "@paracell-test"));
    RESULT(binds(t, "@paracell-test"));                 /* another type, another name */
    RESULT(connects(u, "@paracell-test"));
    CALL(SYS_listen, s, 1);
    RESULT(connects(u, "@paracell-test"));
    SHOW_NAME(SYS_getpeername, u);
    RESULT(connects(u, "@paracell-tes"));
    closes(u), closes(s), closes(t);
    t = syscall(SYS_socket, AF_UNIX, DGRAM, 0);
    RESULT(connects(t, "@paracell-test"));
    CALL(SYS_bind, t, &nothing, 2);                     /* a name of the system's choice */
    size = sizeof from;
    syscall(SYS_getsockname, t, &from, &size);
    print("%u bytes, %d\n", size, from.path[0]);
    memset(&from, 0, sizeof from);
    closes(t);
}

static void streams(void) {
    i64 s = syscall(SYS_socket, AF_UNIX, STREAM, 0), t = syscall(SYS_socket, AF_UNIX, STREAM, 0), a;

    print("-- streams\n");
    show_ready("fresh", s);
    CALL(SYS_read, s, buffer, 1);
    CALL(SYS_sendto, s, "x", 1, MSG_NOSIGNAL, NULL, 0);
    CALL(SYS_accept, s, NULL, NULL);
    CALL(SYS_shutdown, s, 2);
    closes(s);
    s = syscall(SYS_socket, AF_UNIX, STREAM, 0);
    RESULT(binds(s, "door"));
    CALL(SYS_listen, s, 1);
    show_ready("listening", s);
    CALL(SYS_read, s, buffer, 1);
    CALL(SYS_fcntl, s, F_SETFL, O_NONBLOCK);
    CALL(SYS_accept, s, NULL, NULL);
    CALL(SYS_fcntl, s, F_SETFL, 0);
    RESULT(connects(t, "door"));
    show_ready("listening", s);
    show_ready("connected", t);
    CALL(SYS_write, t, "early", 5);
    size = sizeof from;
    show_name("accept", a = syscall(SYS_accept4, s, &from, &size, O_NONBLOCK));
    CALL(SYS_fcntl, a, F_GETFL, 0);
    SHOW_NAME(SYS_getsockname, a);
    SHOW_NAME(SYS_getpeername, a);
    SHOW_NAME(SYS_getpeername, t);
    CALL(SYS_read, a, buffer, 100);
    CALL(SYS_read, a, buffer, 100);
    CALL(SYS_write, a, "answer", 6);
    size = sizeof from;
    show_name("recvfrom", syscall(SYS_recvfrom, t, buffer, 100, 0, &from, &size));
    RESULT(sends(t, "door", "x"));
    CALL(SYS_accept4, s, NULL, NULL, 1);
    CALL(SYS_accept, t, NULL, NULL);
    CALL(SYS_listen, t, 1);
    CALL(SYS_shutdown, t, 1);
    show_ready("half", a);
    show_ready("other half", t);
    CALL(SYS_read, a, buffer, 100);
    CALL(SYS_write, a, "still", 5);
    closes(a);
    show_ready("closed", t);
    CALL(SYS_read, t, buffer, 100);
    CALL(SYS_read, t, buffer, 100);
    SHOW_NAME(SYS_getpeername, t);
    closes(t);

    t = syscall(SYS_socket, AF_UNIX, STREAM, 0);        /* who is never accepted is reset */
    RESULT(connects(t, "door"));
    closes(s);
    show_ready("reset", t);
    CALL(SYS_read, t, buffer, 100);
    CALL(SYS_read, t, buffer, 100);
    closes(t);
    CALL(SYS_unlink, "door");

    i32 p[2];                                           /* what was not read is lost, and the writer hears of it */
    syscall(SYS_socketpair, AF_UNIX, STREAM, 0, p);
    CALL(SYS_write, p[0], "lost", 4);
    CALL(SYS_write, p[1], "kept", 4);
    closes(p[1]);
    show_ready("lost", p[0]);
    CALL(SYS_read, p[0], buffer, 100);
    CALL(SYS_read, p[0], buffer, 100);
    CALL(SYS_read, p[0], buffer, 100);
    closes(p[0]);
}

static void queues(void) {
    i64 s = syscall(SYS_socket, AF_UNIX, STREAM, 0), t[4];

    print("-- queues\n");
    RESULT(binds(s, "@queue"));
    CALL(SYS_listen, s, 1);
    for (i32 i = 0; i < 4; i++) {
        t[i] = syscall(SYS_socket, AF_UNIX, STREAM | O_NONBLOCK, 0);
        RESULT(connects(t[i], "@queue"));
    }
    closes(t[0]);                                       /* it stays in the queue */
    i64 pid = fork();
    if (pid == 0) {
        i64 blocking = syscall(SYS_socket, AF_UNIX, STREAM, 0);
        connects(blocking, "@queue");
        syscall(SYS_write, blocking, "made it", 7);
        quit(0);
    }
    nap(20);
    for (i32 i = 0; i < 3; i++) {
        i64 a = syscall(SYS_accept, s, NULL, NULL);
        i64 n = syscall(SYS_recvfrom, a, buffer, 100, i == 1 ? MSG_DONTWAIT : 0, NULL, NULL);
        print("accepted, %ld\n", n);
        closes(a);
        nap(10);
    }
    reap("caller", pid);
    for (i32 i = 1; i < 4; i++)
        closes(t[i]);
    closes(s);
}

/* More than fits, and a reader that wants all. */
static void lengths(void) {
    i32 p[2];
    i64 n, total = 0;

    print("-- lengths\n");
    syscall(SYS_socketpair, AF_UNIX, STREAM, 0, p);
    i64 pid = fork();
    if (pid == 0) {
        closes(p[1]);
        for (u64 i = 0; i < sizeof other; i++)
            other[i] = (char)(i * 7 + i / 256);
        for (i32 i = 0; i < 5; i++)
            if (syscall(SYS_sendto, p[0], other, sizeof other, 0, NULL, 0) != sizeof other)
                print("a blocking send takes all\n");
        quit(0);
    }
    closes(p[0]);
    n = syscall(SYS_recvfrom, p[1], buffer, 100000, MSG_WAITALL, NULL, NULL);
    u64 sum = checksum(0, buffer, (u64)n);
    print("%ld\n", n);
    while ((n = syscall(SYS_recvfrom, p[1], buffer, sizeof buffer, MSG_WAITALL, NULL, NULL)) > 0)
        sum = checksum(sum, buffer, (u64)n), total += n;
    print("%ld more, sum %lx\n", total, sum);
    reap("sender", pid);
    closes(p[1]);
}

static void datagrams(void) {
    i64 a = syscall(SYS_socket, AF_UNIX, DGRAM, 0), b = syscall(SYS_socket, AF_UNIX, DGRAM, 0), c = syscall(SYS_socket, AF_UNIX, DGRAM, 0);

    print("-- datagrams\n");
    show_ready("fresh", a);
    CALL(SYS_listen, a, 1);
    CALL(SYS_accept, a, NULL, NULL);
    CALL(SYS_sendto, a, "x", 1, 0, NULL, 0);
    RESULT(binds(a, "a")), RESULT(binds(b, "b"));
    RESULT(sends(c, "a", "nameless"));
    RESULT(sends(b, "a", "from b"));
    show_ready("two came", a);
    i32 pending = 0;
    CALL(SYS_ioctl, a, FIONREAD, &pending);
    print("%d to read\n", pending);
    size = sizeof from;
    show_name("recvfrom", syscall(SYS_recvfrom, a, buffer, 100, 0, &from, &size));
    size = sizeof from;
    show_name("peek", syscall(SYS_recvfrom, a, buffer, 3, MSG_PEEK | MSG_TRUNC, &from, &size));
    size = 4;
    show_name("little room", syscall(SYS_recvfrom, a, buffer, 100, 0, &from, &size));
    size = (u32)-1;
    RESULT(sends(b, "a", "x"));
    show_name("no room", syscall(SYS_recvfrom, a, buffer, 100, 0, &from, &size));
    CALL(SYS_recvfrom, a, buffer, 100, MSG_DONTWAIT, NULL, NULL);
    RESULT(sends(b, "missing", "x"));
    RESULT(sends(b, "plain", "x"));
    RESULT(connects(b, "a"));
    SHOW_NAME(SYS_getpeername, b);
    CALL(SYS_write, b, "connected", 9);
    RESULT(connects(a, "b"));
    RESULT(sends(c, "a", "not for strangers"));
    RESULT(connects(c, "a"));
    CALL(SYS_read, a, buffer, 100);
    CALL(SYS_write, a, "", 0);
    CALL(SYS_read, b, buffer, 100);
    u16 unspecified[8] = {0};
    CALL(SYS_connect, a, unspecified, 16);
    i32 count = 0;
    while (sends(c, "a", "full?") == 5)                 /* a stranger may leave so many */
        count++;
    print("%d fit\n", count);
    RESULT(connects(c, "a"));
    show_ready("no room at the peer", c);
    CALL(SYS_read, a, buffer, 100);
    show_ready("room", c);
    CALL(SYS_shutdown, a, 0);
    CALL(SYS_write, c, "x", 1);
    closes(a);
    CALL(SYS_write, b, "x", 1);
    CALL(SYS_write, b, "x", 1);
    closes(b), closes(c);
    CALL(SYS_unlink, "a"), CALL(SYS_unlink, "b");
}

static void packets(void) {
    i64 s = syscall(SYS_socket, AF_UNIX, SEQPACKET, 0), t = syscall(SYS_socket, AF_UNIX, SEQPACKET, 0), u = syscall(SYS_socket, AF_UNIX, STREAM, 0), a;

    print("-- packets\n");
    handle(SIGPIPE, SIG_IGN, 0, 0);
    show_ready("fresh", t);
    CALL(SYS_read, t, buffer, 1);
    CALL(SYS_write, t, "x", 1);
    RESULT(binds(s, "packets"));
    RESULT(connects(t, "packets"));
    CALL(SYS_listen, s, 3);
    RESULT(connects(u, "packets"));
    RESULT(connects(t, "packets"));
    a = CALL(SYS_accept, s, NULL, NULL);
    CALL(SYS_write, t, "one", 3), CALL(SYS_write, t, "three", 5);
    CALL(SYS_read, a, buffer, 2), CALL(SYS_read, a, buffer, 100);
    RESULT(sends(a, "packets", "name does not matter"));
    CALL(SYS_read, t, buffer, 100);
    CALL(SYS_shutdown, t, 1);
    CALL(SYS_read, a, buffer, 100);
    show_ready("half", a);
    CALL(SYS_write, t, "x", 1);
    CALL(SYS_write, a, "last", 4);
    closes(a);
    show_ready("closed", t);
    CALL(SYS_read, t, buffer, 100), CALL(SYS_read, t, buffer, 100);
    closes(t), closes(s), closes(u);
    CALL(SYS_unlink, "packets");
}

struct control { u64 length; i32 level, type; i32 data[6]; };

static void show_control(const struct message *m, const struct control *c) {
    const i32 own = (i32)syscall(SYS_getpid);

    print("control %lu flags %x", m->control_length, (u32)m->flags);
    if (m->control_length >= 16 && c->type == 2)
        print(", sender %s %d %d", c->data[0] == own ? "self" : c->data[0] ? "other" : "nobody", c->data[1], c->data[2]);
    else if (m->control_length >= 16)
        print(", type %d, %lu bytes", c->type, c->length);
    print("\n");
}

static void credentials(void) {
    i32 p[2], one = 1;
    struct { i32 pid; u32 uid, gid; } who;
    struct control c = {0, 0, 0, {0}};
    struct io io = {"x", 1};
    struct message m = {NULL, 0, 0, &io, 1, &c, sizeof c, 0, 0};

    print("-- credentials\n");
    syscall(SYS_socketpair, AF_UNIX, DGRAM, 0, p);
    size = sizeof who;
    CALL(SYS_getsockopt, p[0], SOL_SOCKET, SO_PEERCRED, &who, &size);
    print("%s %u %u\n", who.pid == (i32)syscall(SYS_getpid) ? "self" : "other", who.uid, who.gid);
    CALL(SYS_setsockopt, p[1], SOL_SOCKET, SO_PASSCRED, &one, 4);
    print("%d %d\n", option(p[1], SOL_SOCKET, SO_PASSCRED), option(p[0], SOL_SOCKET, SO_PASSCRED));
    CALL(SYS_write, p[0], "x", 1);
    io.base = buffer;
    CALL(SYS_recvmsg, p[1], &m, 0);
    show_control(&m, &c);
    c = (struct control){28, SOL_SOCKET, 2, {(i32)syscall(SYS_getpid), 7, 8}};
    m.control_length = sizeof c;
    CALL(SYS_sendmsg, p[0], &m, 0);
    m.control_length = sizeof c;
    CALL(SYS_recvmsg, p[1], &m, 0);
    show_control(&m, &c);
    c = (struct control){28, SOL_SOCKET, 2, {99999, 7, 8}};
    m.control_length = sizeof c;
    CALL(SYS_sendmsg, p[0], &m, 0);
    c = (struct control){27, SOL_SOCKET, 2, {1, 7, 8}};
    CALL(SYS_sendmsg, p[0], &m, 0);
    c = (struct control){20, SOL_SOCKET, 77, {1, 7, 8}};
    CALL(SYS_sendmsg, p[0], &m, 0);
    c = (struct control){8, SOL_SOCKET, 1, {1, 7, 8}};
    CALL(SYS_sendmsg, p[0], &m, 0);
    c = (struct control){20, SOL_SOCKET, 1, {99}};
    CALL(SYS_sendmsg, p[0], &m, 0);
    i32 off = 0;
    syscall(SYS_setsockopt, p[1], SOL_SOCKET, SO_PASSCRED, &off, 4);
    c = (struct control){28, SOL_SOCKET, 1, {0, 1, 2}};
    m.control_length = 32;
    CALL(SYS_sendmsg, p[0], &m, 0);
    m.control_length = 20;                              /* room for one of three */
    CALL(SYS_recvmsg, p[1], &m, O_CLOEXEC);
    print("control %lu length %lu, %x\n", m.control_length, c.length, (u32)m.flags);
    closes(c.data[0]);
    closes(p[0]), closes(p[1]);
}

/* Files in a stream: a read ends with the bytes that they came with. */
static void rights(void) {
    i32 p[2];
    struct control c = {20, SOL_SOCKET, 1, {1}};
    struct io io = {"with", 4};
    struct message m = {NULL, 0, 0, &io, 1, &c, 24, 0, 0};

    print("-- rights\n");
    syscall(SYS_socketpair, AF_UNIX, STREAM, 0, p);
    CALL(SYS_write, p[0], "before ", 7);
    CALL(SYS_sendmsg, p[0], &m, 0);
    CALL(SYS_write, p[0], " after", 6);
    CALL(SYS_sendmsg, p[0], &m, 0);
    for (i32 i = 0; i < 3; i++) {
        io = (struct io){buffer, 100};
        m.control_length = 24, c.length = 0;
        i64 n = CALL(SYS_recvmsg, p[1], &m, MSG_DONTWAIT);
        print("%s, control %lu\n", text(buffer, n > 0 ? n : 0), n > 0 ? m.control_length : 0);
        if (n > 0 && m.control_length)
            closes(c.data[0]);
    }
    struct { struct { u64 length; i32 level, type, fd, pad; } part[2]; } twice = {{{20, SOL_SOCKET, 1, 1, 0}, {20, SOL_SOCKET, 1, 2, 0}}};
    struct { u64 length; i32 level, type, fds[4]; } got = {0, 0, 0, {0}};
    m.control = &twice, m.control_length = sizeof twice;
    CALL(SYS_sendmsg, p[0], &m, 0);                     /* two lists come as one */
    m.control = &got, m.control_length = sizeof got;
    CALL(SYS_recvmsg, p[1], &m, MSG_DONTWAIT);
    print("control %lu, length %lu\n", m.control_length, got.length);
    closes(p[0]), closes(p[1]);
}

static void many(void) {
    struct io out[3] = {{"first", 5}, {"2nd", 3}, {"third", 5}}, in[3] = {{buffer, 50}, {buffer + 50, 2}, {buffer + 100, 50}};
    struct { struct message m; u32 n, pad; } list[3];
    i32 p[2];

    print("-- many\n");
    syscall(SYS_socketpair, AF_UNIX, DGRAM, 0, p);
    memset(list, 0, sizeof list);
    for (i32 i = 0; i < 3; i++)
        list[i].m.io = &out[i], list[i].m.ios = 1;
    CALL(SYS_sendmmsg, p[0], list, 3, 0);
    print("%u %u %u\n", list[0].n, list[1].n, list[2].n);
    for (i32 i = 0; i < 3; i++)
        list[i].m.io = &in[i], list[i].n = 0;
    struct timespec soon = {0, 1000000};
    CALL(SYS_recvmmsg, p[1], list, 2, 0, NULL);
    print("%u %u %x, %s\n", list[0].n, list[1].n, (u32)list[1].m.flags, buffer);
    CALL(SYS_recvmmsg, p[1], list, 3, 0x10000, &soon);
    print("%u\n", list[0].n);
    CALL(SYS_recvmmsg, p[1], list, 3, MSG_DONTWAIT, NULL);
    CALL(SYS_sendmmsg, p[0], 8, 3, 0);
    CALL(SYS_sendmmsg, p[0], list, 0, 0);
    closes(p[0]), closes(p[1]);
}

static void waiting(void) {
    struct { i64 s, us; } t = {0, 20000}, wrong = {0, 1000000};
    i32 p[2];

    print("-- waiting\n");
    syscall(SYS_socketpair, AF_UNIX, STREAM, 0, p);
    CALL(SYS_setsockopt, p[0], SOL_SOCKET, SO_RCVTIMEO, &t, 16);
    CALL(SYS_setsockopt, p[0], SOL_SOCKET, SO_SNDTIMEO, &wrong, 16);
    t.us = 0, size = 16;
    CALL(SYS_getsockopt, p[0], SOL_SOCKET, SO_RCVTIMEO, &t, &size);
    print("%ld %ld, %u bytes\n", t.s, t.us, size);
    i64 before = microseconds();
    CALL(SYS_read, p[0], buffer, 10);
    CHECK(microseconds() - before >= 20000);
    CALL(SYS_setsockopt, p[0], SOL_SOCKET, SO_SNDTIMEO, &t, 16);
    i64 r;
    while ((r = syscall(SYS_write, p[0], buffer, 65536)) == 65536)
        ;
    CHECK(r == -11 || (r > 0 && syscall(SYS_write, p[0], buffer, 65536) == -11));
    closes(p[0]), closes(p[1]);
}

int main(int argc, char **argv) {
    (void)argc, (void)argv;
    apart();
    handle(SIGPIPE, SIG_IGN, 0, 0);
    syscall(95, 022);
    names();
    abstract();
    streams();
    queues();
    lengths();
    datagrams();
    packets();
    credentials();
    rights();
    many();
    waiting();
    return 42;
}
