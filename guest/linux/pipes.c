/* Pipes, FIFOs and socket pairs: capacity, blocking, ends that are closed. */
#include "linux.h"

#define S_IFIFO 010000
#define AF_UNIX 1
#define STREAM 1
#define DGRAM 2
#define SEQPACKET 5
#define MSG_PEEK 2
#define MSG_TRUNC 0x20
#define MSG_DONTWAIT 0x40
#define MSG_NOSIGNAL 0x4000

static char big[1 << 18], buffer[1 << 17];
static struct pipe p, q;
static volatile i32 broken;

static void on_broken(i32 signal) { broken += signal; }

static void flags(void) {
    print("-- flags\n");
    CALL(SYS_pipe2, &p, 0);
    print("%d %d\n", p.read, p.write);
    CALL(SYS_fcntl, p.read, F_GETFD, 0);
    CALL(SYS_fcntl, p.read, F_GETFL, 0);
    CALL(SYS_fcntl, p.write, F_GETFL, 0);
    CALL(SYS_pipe2, &q, O_CLOEXEC | O_NONBLOCK);
    CALL(SYS_fcntl, q.write, F_GETFD, 0);
    CALL(SYS_fcntl, q.read, F_GETFL, 0);
    CALL(SYS_fcntl, q.write, F_GETFL, 0);
    CALL(SYS_close, q.read);
    CALL(SYS_close, q.write);
    CALL(SYS_pipe, &q);
    print("%d %d\n", q.read, q.write);
    CALL(SYS_close, q.read);
    CALL(SYS_close, q.write);
    CALL(SYS_pipe2, &q, O_APPEND);
    CALL(SYS_pipe2, 8, 0);
    CALL(SYS_close, 5);                         /* the failure took no number */
    CALL(SYS_read, p.write, buffer, 1);
    CALL(SYS_write, p.read, buffer, 1);
    CALL(SYS_lseek, p.read, 0, 0);
    CALL(SYS_pread64, p.read, buffer, 1, 0);
    CALL(SYS_pwrite64, p.write, buffer, 1, 0);
    CALL(SYS_ftruncate, p.write, 0);
    CALL(SYS_write, p.write, buffer, 0);
    CALL(SYS_read, p.read, buffer, 0);
    CALL(SYS_ioctl, p.read, 0x5401, buffer);
    struct stat s;
    CALL(SYS_fstat, p.read, &s);
    print("mode %x size %ld links %lu\n", s.mode, s.size, s.nlink);
}

static void capacity(void) {
    i32 n = 0;

    print("-- capacity\n");
    CALL(SYS_fcntl, p.write, F_GETPIPE_SZ, 0);
    CALL(SYS_fcntl, p.write, F_SETFL, O_NONBLOCK);
    CALL(SYS_fcntl, p.read, F_SETFL, O_NONBLOCK);
    CALL(SYS_fcntl, p.read, F_GETFL, 0);
    CALL(SYS_read, p.read, buffer, 1);
    CALL(SYS_write, p.write, big, 100000);
    CALL(SYS_write, p.write, big, 1);
    CALL(SYS_write, p.write, big, 0);
    CALL(SYS_ioctl, p.read, FIONREAD, &n);
    print("%d to read\n", n);
    CALL(SYS_read, p.read, buffer, 4096);
    CALL(SYS_write, p.write, big, 4096);
    CALL(SYS_write, p.write, big, 4096);
    CALL(SYS_read, p.read, buffer, 100000);
    CALL(SYS_read, p.read, buffer, 100000);
    CALL(SYS_write, p.write, big, 65436);       /* up to PIPE_BUF bytes go in together or not at all */
    CALL(SYS_write, p.write, big, 200);
    CALL(SYS_write, p.write, big, 4096);
    CALL(SYS_write, p.write, big, 50);
    CALL(SYS_read, p.read, buffer, 100000);
    i64 r, total = 0;
    while ((r = syscall(SYS_write, p.write, big, 1)) == 1)
        total++;
    print("%ld single bytes, then %ld\n", total, r);
    CALL(SYS_read, p.read, buffer, 100000);
    for (i32 i = 0; i < 3; i++)
        syscall(SYS_write, p.write, "abc", 3);
    CALL(SYS_read, p.read, buffer, 5);
    CALL(SYS_read, p.read, buffer + 5, 100);
    print("%s\n", text(buffer, 9));
    CALL(SYS_write, p.write, 8, 10);
    CALL(SYS_write, p.write, "x", 1);
    CALL(SYS_read, p.read, 8, 10);
    struct { const void *base; u64 n; } out[3] = {{"one", 3}, {"", 0}, {"three", 5}};
    CALL(SYS_read, p.read, buffer, 100);
    CALL(SYS_writev, p.write, out, 3);
    struct { void *base; u64 n; } in[2] = {{buffer, 2}, {buffer + 2, 100}};
    CALL(SYS_readv, p.read, in, 2);
    print("%s\n", text(buffer, 8));
    CALL(SYS_fcntl, p.write, F_SETPIPE_SZ, 5000);
    CALL(SYS_fcntl, p.read, F_GETPIPE_SZ, 0);
    CALL(SYS_write, p.write, big, 100000);
    CALL(SYS_fcntl, p.write, F_SETPIPE_SZ, 4096);
    CALL(SYS_read, p.read, buffer, 100000);
}

static void ends(void) {
    print("-- ends\n");
    CALL(SYS_write, p.write, "rest", 4);
    CALL(SYS_close, p.write);
    CALL(SYS_read, p.read, buffer, 100);
    CALL(SYS_read, p.read, buffer, 100);
    CALL(SYS_close, p.read);

    make_pipe(&p);
    i64 again = syscall(SYS_dup, p.write);
    closes(p.write);
    CALL(SYS_write, again, "x", 1);             /* as long as one end is open */
    closes(p.read);
    if (fork() == 0) {
        syscall(SYS_write, again, "x", 1);
        quit(0);
    }
    reap("nobody reads", -1);
    handle(SIGPIPE, SIG_IGN, 0, 0);
    CALL(SYS_write, again, "x", 1);
    handle(SIGPIPE, (void *)on_broken, 0, 0);
    CALL(SYS_write, again, "x", 1);
    CALL(SYS_write, again, "x", 0);
    CHECK(broken == SIGPIPE);
    handle(SIGPIPE, SIG_DFL, 0, 0);
    closes(again);

    make_pipe(&p);                              /* a writer that waits learns that the reader goes */
    if (fork() == 0) {
        closes(p.read);
        handle(SIGPIPE, SIG_IGN, 0, 0);
        i64 n = syscall(SYS_write, p.write, big, 200000);
        CHECK(n > 0 && n < 200000);
        CALL(SYS_write, p.write, big, 100);
        quit(0);
    }
    for (i64 left = 1000; left; left -= syscall(SYS_read, p.read, buffer, left))
        ;
    closes(p.read);
    reap("writer", -1);
    closes(p.write);
}

/* Much, between processes that have to wait for each other again and again. */
static void handoff(void) {
    const u64 total = 1 << 21;
    u64 at = 0, sum = 0, sizes[] = {1, 100, 4096, 5000, 65536, 70000, 131072, 7};
    i64 n;

    print("-- handoff\n");
    make_pipe(&p), make_pipe(&q);
    for (u64 i = 0; i < sizeof big; i++)
        big[i] = (char)(i * i >> 5 ^ i);
    if (fork() == 0) {                          /* writes, in amounts that fit no page */
        for (u64 i = 0; at < total; at += (u64)n, i++) {
            n = (i64)(sizes[i % 8] < total - at ? sizes[i % 8] : total - at);
            if (syscall(SYS_write, p.write, big + at % (1 << 17), n) != n)
                print("a blocking write was partial\n");
        }
        quit(0);
    }
    if (fork() == 0) {                          /* passes it on */
        closes(p.write);
        while ((n = syscall(SYS_read, p.read, buffer, 10000)) > 0)
            for (i64 done = 0; done < n; done += syscall(SYS_write, q.write, buffer + done, n - done))
                ;
        quit(0);
    }
    closes(p.write), closes(q.write), closes(p.read);
    for (u64 i = 0; (n = syscall(SYS_read, q.read, buffer, sizes[i++ % 5] + 900)) > 0; at += (u64)n)
        sum = checksum(sum, buffer, (u64)n);
    print("%lu bytes, sum %lx\n", at, sum);
    reap("one", -1), reap("other", -1);
    closes(q.read);

    make_pipe(&p), make_pipe(&q);               /* one byte there and back */
    if (fork() == 0) {
        closes(p.write);
        while (awaits(p.read))
            passes(q.write);
        quit(0);
    }
    for (i32 i = 0; i < 500; i++)
        passes(p.write), awaits(q.read);
    closes(p.write);
    reap("partner", -1);
    closes(p.read), closes(q.read), closes(q.write);

    /* four write lines at once: no line is torn */
    make_pipe(&p);
    for (i32 who = 0; who < 4; who++)
        if (fork() == 0) {
            memset(buffer, 'a' + who, 1000);
            for (i32 i = 0; i < 100; i++)
                syscall(SYS_write, p.write, buffer, 1000);
            quit(0);
        }
    closes(p.write);
    i32 count[4] = {0}, torn = 0;
    for (at = 0; (n = syscall(SYS_read, p.read, buffer + at, 1000 - at)) > 0;)
        if ((at += (u64)n) == 1000) {
            for (at = 1; at < 1000; at++)
                torn += buffer[at] != buffer[0];
            count[(buffer[0] - 'a') & 3]++, at = 0;
        }
    print("%d %d %d %d, torn %d\n", count[0], count[1], count[2], count[3], torn);
    for (i32 i = 0; i < 4; i++)
        reap("writer", -1);
    closes(p.read);
}

static void named(void) {
    struct stat s;

    print("-- named\n");
    CALL(SYS_mknod, "fifo", S_IFIFO | 0644, 0);
    CALL(SYS_mknod, "fifo", S_IFIFO | 0644, 0);
    CALL(SYS_lstat, "fifo", &s);
    print("mode %x size %ld\n", s.mode, s.size);
    CALL(SYS_open, "fifo", O_WRONLY | O_NONBLOCK, 0);
    i64 in = CALL(SYS_open, "fifo", O_RDONLY | O_NONBLOCK, 0);
    CALL(SYS_read, in, buffer, 10);             /* nobody writes: the end, not EAGAIN */
    i64 out = CALL(SYS_open, "fifo", O_WRONLY | O_NONBLOCK, 0);
    CALL(SYS_read, in, buffer, 10);
    CALL(SYS_write, out, "hello", 5);
    CALL(SYS_read, in, buffer, 10);
    CALL(SYS_write, out, "lost", 4);
    CALL(SYS_close, out);
    CALL(SYS_close, in);
    in = CALL(SYS_open, "fifo", O_RDWR | O_NONBLOCK, 0);
    CALL(SYS_read, in, buffer, 10);
    CALL(SYS_close, in);
    i64 pid = fork();
    if (pid == 0) {
        out = syscall(SYS_open, "fifo", O_WRONLY, 0);
        syscall(SYS_write, out, "from the child", 14);
        quit(0);
    }
    in = CALL(SYS_open, "fifo", O_RDONLY, 0);   /* these two wait for each other */
    CALL(SYS_read, in, buffer, 100);
    print("%s\n", text(buffer, 14));
    CALL(SYS_read, in, buffer, 100);
    reap("child", pid);
    CALL(SYS_close, in);
    CALL(SYS_unlink, "fifo");
}

static void pairs(void) {
    i32 s[2], n = 0;

    print("-- pairs\n");
    CALL(SYS_socketpair, AF_UNIX, STREAM, 0, s);
    CALL(SYS_write, s[0], "one", 3);
    CALL(SYS_write, s[0], "two", 3);
    CALL(SYS_write, s[1], "back", 4);
    CALL(SYS_ioctl, s[1], FIONREAD, &n);
    print("%d to read\n", n);
    CALL(SYS_recvfrom, s[1], buffer, 4, MSG_PEEK, NULL, NULL);
    CALL(SYS_read, s[1], buffer, 4);
    CALL(SYS_read, s[1], buffer + 4, 100);
    print("%s\n", text(buffer, 6));
    CALL(SYS_recvfrom, s[1], buffer, 4, MSG_DONTWAIT, NULL, NULL);
    CALL(SYS_read, s[0], buffer, 100);
    CALL(SYS_lseek, s[0], 0, 0);
    CALL(SYS_shutdown, s[0], 1);
    CALL(SYS_read, s[1], buffer, 100);
    CALL(SYS_sendto, s[0], "x", 1, MSG_NOSIGNAL, NULL, 0);
    CALL(SYS_write, s[1], "still", 5);
    CALL(SYS_read, s[0], buffer, 100);
    CALL(SYS_shutdown, s[0], 9);
    CALL(SYS_close, s[1]);
    CALL(SYS_read, s[0], buffer, 100);
    CALL(SYS_close, s[0]);
    CALL(SYS_shutdown, s[0], 0);

    CALL(SYS_socketpair, AF_UNIX, STREAM | O_NONBLOCK | O_CLOEXEC, 0, s);
    CALL(SYS_fcntl, s[1], F_GETFD, 0);
    CALL(SYS_fcntl, s[1], F_GETFL, 0);
    CALL(SYS_read, s[1], buffer, 1);
    CALL(SYS_write, s[0], "unread", 6);
    CALL(SYS_close, s[1]);                      /* with data in it: the other side's was lost */
    handle(SIGPIPE, SIG_IGN, 0, 0);
    CALL(SYS_write, s[0], "x", 1);
    CALL(SYS_close, s[0]);

    CALL(SYS_socketpair, AF_UNIX, DGRAM, 0, s);
    CALL(SYS_write, s[0], "first", 5);
    CALL(SYS_write, s[0], "", 0);
    CALL(SYS_write, s[0], "third message", 13);
    CALL(SYS_write, s[0], "fourth", 6);
    CALL(SYS_read, s[1], buffer, 100);
    CALL(SYS_read, s[1], buffer, 100);
    CALL(SYS_read, s[1], buffer, 5);            /* what does not fit is gone */
    CALL(SYS_recvfrom, s[1], buffer, 2, MSG_TRUNC, NULL, NULL);
    CALL(SYS_recvfrom, s[1], buffer, 2, MSG_DONTWAIT, NULL, NULL);
    CALL(SYS_close, s[1]);
    CALL(SYS_write, s[0], "x", 1);
    CALL(SYS_close, s[0]);
    CALL(SYS_socketpair, AF_UNIX, SEQPACKET, 0, s);
    CALL(SYS_write, s[0], "first", 5);
    CALL(SYS_write, s[0], "second", 6);
    CALL(SYS_read, s[1], buffer, 100);
    CALL(SYS_close, s[0]);
    CALL(SYS_read, s[1], buffer, 100);
    CALL(SYS_read, s[1], buffer, 100);
    CALL(SYS_close, s[1]);
    CALL(SYS_socketpair, AF_UNIX, 77, 0, s);
    CALL(SYS_socketpair, 99, STREAM, 0, s);
    CALL(SYS_recvfrom, 0, buffer, 1, 0, NULL, NULL);
}

struct vector { void *base; u64 n; };

static u8 next_in, next_out;

static i32 fills(i64 fd, u64 n) {
    for (u64 i = 0; i < n; i++)
        big[i] = (char)(next_in + i * 7);
    i64 r = syscall(SYS_write, fd, big, n);
    next_in = (u8)(next_in + (r > 0 ? r * 7 : 0));
    return r > 0;
}

static u64 drains(i64 fd, u64 n) {
    i64 r = syscall(SYS_read, fd, buffer, n);

    for (i64 i = 0; i < r; i++, next_out = (u8)(next_out + 7))
        if ((u8)buffer[i] != next_out) {
            print("byte %ld of %ld is wrong\n", i, r);
            return 0;
        }
    return r > 0 ? (u64)r : 0;
}

/* Full, with an odd beginning, and read by odd pieces; and made larger while it is so. */
static void rings(void) {
    i32 s[2];
    u64 moved = 0, part;

    print("-- rings\n");
    syscall(SYS_socketpair, AF_UNIX, STREAM | O_NONBLOCK, 0, s);
    for (u64 turn = 0; moved < 3000000; turn++) {
        while (fills(s[0], 5000))
            ;
        for (u64 k = 0; k < 3; k++)
            moved += drains(s[1], 1000 + (turn * 3 + k) * 97 % 9000);
    }
    while ((part = drains(s[1], 3333)))
        moved += part;
    print("all was right: %s\n", next_in == next_out ? "yes" : "no");
    closes(s[0]), closes(s[1]);
    next_in = next_out = 0;
    CALL(SYS_pipe2, &p, O_NONBLOCK);
    fills(p.write, 65536);
    drains(p.read, 5000);
    while (fills(p.write, 1))
        ;
    CALL(SYS_fcntl, p.write, F_SETPIPE_SZ, 1 << 18);
    fills(p.write, 150000);
    for (moved = 0; (part = drains(p.read, 7777)); moved += part)
        ;
    print("all was right: %s, %s\n", next_in == next_out ? "yes" : "no", moved > 190000 ? "much" : "little");
    CALL(SYS_fcntl, p.write, F_SETPIPE_SZ, 4096);
    CALL(SYS_fcntl, p.write, F_SETPIPE_SZ, 1 << 20);
    closes(p.read), closes(p.write);
}

/* A vector is one message; looking at one leaves it there; and the options that a pair has no use for. */
static void messages(void) {
    struct vector two[2] = {{"one ", 4}, {"message", 7}}, halves[2] = {{buffer, 6}, {buffer + 100, 50}}, none[2] = {{NULL, 0}, {NULL, 0}};
    static const i32 types[] = {DGRAM, SEQPACKET};
    struct { i64 s, us; } soon = {0, 1000};
    i32 s[2], one = 1;

    print("-- messages\n");
    for (u64 i = 0; i < COUNT(types); i++) {
        CALL(SYS_socketpair, AF_UNIX, types[i], 0, s);
        CALL(SYS_writev, s[0], two, 2);
        CALL(SYS_writev, s[0], none, 2);
        CALL(SYS_writev, s[0], two, 1);
        CALL(SYS_recvfrom, s[1], buffer, 4, MSG_PEEK, NULL, NULL);
        CALL(SYS_recvfrom, s[1], buffer, 4, MSG_PEEK | MSG_TRUNC, NULL, NULL);
        memset(buffer, 0, 200);
        CALL(SYS_readv, s[1], halves, 2);
        print("%s, %s\n", buffer, buffer + 100);
        CALL(SYS_readv, s[1], halves, 2);
        CALL(SYS_recvfrom, s[1], buffer, 4, MSG_DONTWAIT, NULL, NULL);
        CALL(SYS_writev, s[0], 8, 2);
        CALL(SYS_preadv, s[1], halves, 2, 0);
        closes(s[0]), closes(s[1]);
    }
    CALL(SYS_socketpair, AF_UNIX, STREAM, 0, s);
    CALL(SYS_writev, s[0], two, 2);
    CALL(SYS_recvfrom, s[1], buffer, 4, MSG_PEEK, NULL, NULL);
    CALL(SYS_readv, s[1], halves, 2);
    CALL(SYS_setsockopt, s[0], 1, 2, &one, 4);
    CALL(SYS_setsockopt, s[0], 1, 9, &one, 4);
    CALL(SYS_setsockopt, s[0], 1, 2, &one, 2);
    CALL(SYS_setsockopt, s[0], 1, 2, 8, 4);
    CALL(SYS_setsockopt, s[0], 1, 3, &one, 4);
    CALL(SYS_setsockopt, s[0], 1, 9999, &soon, sizeof soon);
    CALL(SYS_setsockopt, s[0], 77, 1, &one, 4);
    CALL(SYS_setsockopt, 0, 1, 2, &one, 4);
    closes(s[0]), closes(s[1]);
    CALL(SYS_mknod, "socket", 0140644, 0);
    CALL(SYS_open, "socket", O_RDWR, 0);
    CALL(SYS_truncate, "socket", 10);
    CALL(SYS_unlink, "socket");
}

/* A file may be handed to another process. */
static void descriptors(void) {
    struct { u64 length; i32 level, type, fd, pad; } control = {20, 1, 1, -1, 0};
    struct { void *base; u64 n; } io = {"F", 1};
    struct { void *name; u64 name_length; void *io; u64 ios; void *control; u64 control_length; i32 flags, pad; }
        message = {NULL, 0, &io, 1, &control, sizeof control, 0, 0};
    i32 s[2];

    print("-- descriptors\n");
    CALL(SYS_socketpair, AF_UNIX, STREAM, 0, s);
    i64 pid = fork();
    if (pid == 0) {
        i64 fd = syscall(SYS_open, "given", O_RDWR | O_CREAT, 0644);
        syscall(SYS_write, fd, "content", 7);
        syscall(SYS_lseek, fd, 3, 0);
        control.fd = (i32)fd;
        CALL(SYS_sendmsg, s[0], &message, 0);
        quit(0);
    }
    reap("giver", pid);
    control.fd = -1;
    io.base = buffer;
    CALL(SYS_recvmsg, s[1], &message, 0);
    print("length %lu level %d type %d fd %d control %lu\n", control.length, control.level, control.type, control.fd,
          message.control_length);
    CALL(SYS_read, control.fd, buffer, 100);
    print("%s\n", text(buffer, 4));

    for (i32 way = 0; way < 2; way++) {         /* who reads without asking for it loses it */
        message.control_length = sizeof control;
        control.length = 20, control.level = control.type = 1, control.fd = 0;
        CALL(SYS_sendmsg, s[0], &message, 0);
        if (way)
            CALL(SYS_recvfrom, s[1], buffer, 1, 0, NULL, NULL);
        else
            CALL(SYS_read, s[1], buffer, 1);
        CALL(SYS_write, s[0], "x", 1);
        message.control_length = sizeof control;
        CALL(SYS_recvmsg, s[1], &message, 0);
        print("control %lu\n", message.control_length);
    }
}

int main(int argc, char **argv) {
    (void)argc, (void)argv;
    begin();
    flags();
    capacity();
    ends();
    handoff();
    named();
    pairs();
    rings();
    messages();
    descriptors();
    return 42;
}
