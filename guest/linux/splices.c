/* splice, tee, vmsplice and sendfile: between pipes, files and sockets. */
#include "sockets.h"

#define SYS_splice 275
#define SYS_tee 276
#define SYS_vmsplice 278
#define NONBLOCK 2

static char buffer[1 << 17];
static struct pipe p, q;

static i64 file_of(const char *name, u64 n) {
    i64 fd = syscall(SYS_open, name, O_RDWR | O_CREAT | O_TRUNC, 0600);

    for (u64 i = 0; i < n; i++)
        buffer[i] = (char)('a' + i % 26);
    syscall(SYS_write, fd, buffer, n);
    syscall(SYS_lseek, fd, 0, 0);
    memset(buffer, 0, n);
    return fd;
}

static void show_read(i64 fd) {
    i64 n = syscall(SYS_read, fd, buffer, 100);

    print("%ld: %s\n", n, text(buffer, n > 0 ? n : 0));
}

static void files(void) {
    i64 in = file_of("in", 20), out = file_of("out", 0), at = 5;

    print("-- files\n");
    make_pipe(&p);
    CALL(SYS_splice, in, NULL, p.write, NULL, 3, 0);
    CALL(SYS_splice, in, &at, p.write, NULL, 4, 0);
    print("at %ld, position %ld\n", at, syscall(SYS_lseek, in, 0, 1));
    CALL(SYS_splice, p.read, NULL, out, NULL, 100, 0);
    print("position %ld\n", syscall(SYS_lseek, out, 0, 1));
    CALL(SYS_splice, p.read, NULL, out, NULL, 100, NONBLOCK);
    CALL(SYS_splice, in, NULL, p.write, NULL, 100, 0);
    CALL(SYS_splice, in, NULL, p.write, NULL, 100, 0);
    at = 30;
    CALL(SYS_splice, p.read, NULL, out, &at, 2, 0);
    print("at %ld\n", at);
    show_read(p.read);
    syscall(SYS_lseek, out, 0, 0);
    show_read(out);
    CALL(SYS_splice, in, NULL, out, NULL, 5, 0);
    CALL(SYS_splice, in, NULL, p.write, &at, 5, 0);
    CALL(SYS_splice, p.read, &at, out, NULL, 5, 0);
    CALL(SYS_splice, in, 8, p.write, NULL, 5, 0);
    CALL(SYS_splice, in, NULL, p.write, NULL, 5, 99);
    CALL(SYS_splice, in, NULL, p.write, NULL, 0, 99);
    CALL(SYS_splice, 99, NULL, p.write, NULL, 5, 0);
    CALL(SYS_splice, in, NULL, 99, NULL, 5, 0);
    CALL(SYS_splice, p.write, NULL, out, NULL, 5, 0);
    CALL(SYS_splice, in, NULL, p.read, NULL, 5, 0);
    i64 append = syscall(SYS_open, "out", O_WRONLY | O_APPEND, 0);
    CALL(SYS_write, p.write, "x", 1);
    CALL(SYS_splice, p.read, NULL, append, NULL, 5, 0);
    CALL(SYS_splice, p.read, NULL, p.write, NULL, 5, 0);
    show_read(p.read);
    closes(p.write);
    CALL(SYS_splice, p.read, NULL, out, NULL, 5, 0);    /* the end */
    closes(p.read), closes(in), closes(out), closes(append);
}

static void pipes(void) {
    i64 n;

    print("-- pipes\n");
    make_pipe(&p), make_pipe(&q);
    CALL(SYS_write, p.write, "through two pipes", 17);
    CALL(SYS_tee, p.read, q.write, 7, 0);
    CALL(SYS_splice, p.read, NULL, q.write, NULL, 8, 0);
    show_read(p.read), show_read(q.read);
    CALL(SYS_tee, p.read, q.write, 7, NONBLOCK);
    CALL(SYS_tee, p.read, q.write, 0, 0);
    CALL(SYS_tee, p.read, p.write, 7, 0);
    CALL(SYS_tee, p.read, q.write, 7, 99);
    CALL(SYS_tee, 0, q.write, 7, 0);
    CALL(SYS_tee, 99, q.write, 7, 0);
    struct io pieces[2] = {{"memory ", 7}, {"of one's own", 12}}, places[2] = {{buffer, 3}, {buffer + 3, 50}};
    CALL(SYS_vmsplice, p.write, pieces, 2, 0);
    CALL(SYS_vmsplice, p.read, places, 2, 0);
    print("%s\n", text(buffer, 19));
    CALL(SYS_vmsplice, 0, pieces, 2, 0);
    CALL(SYS_vmsplice, p.write, pieces, 2, 99);
    CALL(SYS_vmsplice, p.write, 8, 2, 0);
    syscall(SYS_fcntl, q.write, F_SETFL, O_NONBLOCK);
    while ((n = syscall(SYS_write, q.write, buffer, sizeof buffer)) > 0)
        ;
    CALL(SYS_write, p.write, "x", 1);
    CALL(SYS_splice, p.read, NULL, q.write, NULL, 1, NONBLOCK);
    CALL(SYS_tee, p.read, q.write, 1, NONBLOCK);
    show_read(p.read);
    i64 pid = fork();
    if (pid == 0) {                                     /* waits until there is something */
        closes(p.write);
        i64 file = syscall(SYS_open, "late", O_RDWR | O_CREAT, 0600);
        CALL(SYS_splice, p.read, NULL, file, NULL, 100, 0);
        quit(0);
    }
    nap(10);
    CALL(SYS_close, p.read);
    syscall(SYS_write, p.write, "late", 4);
    reap("child", pid);
    handle(SIGPIPE, SIG_IGN, 0, 0);
    i64 in = syscall(SYS_open, "late", O_RDONLY, 0);
    CALL(SYS_splice, in, NULL, p.write, NULL, 4, 0);    /* nobody reads */
    closes(in), closes(p.write), closes(q.read), closes(q.write);
}

static void sockets(void) {
    i64 in = file_of("large", 100000), n, total = 0, at = 10;
    u64 sum = 0;
    i32 s[2];

    print("-- sockets\n");
    syscall(SYS_socketpair, AF_UNIX, STREAM, 0, s);
    make_pipe(&p);
    if (fork() == 0) {
        closes(s[1]);
        for (i64 left = 100000; left; left -= n) {
            n = syscall(SYS_splice, in, NULL, p.write, NULL, left, 0);
            for (i64 part = n, m; part > 0; part -= m)
                m = syscall(SYS_splice, p.read, NULL, s[0], NULL, part, 0);
        }
        CALL(SYS_sendfile, s[0], in, &at, 1000);
        print("at %ld\n", at);
        CALL(SYS_sendfile, s[0], in, NULL, 1000);
        quit(0);
    }
    closes(s[0]);
    while ((n = syscall(SYS_recvfrom, s[1], buffer, 4096, MSG_WAITALL, NULL, NULL)) > 0)
        sum = checksum(sum, buffer, (u64)n), total += n;
    print("%ld bytes, sum %lx\n", total, sum);
    reap("sender", -1);
    syscall(SYS_socketpair, AF_UNIX, STREAM, 0, s);
    CALL(SYS_write, s[0], "from a socket", 13);
    CALL(SYS_splice, s[1], NULL, p.write, NULL, 100, 0);
    show_read(p.read);
    CALL(SYS_sendfile, s[0], s[1], NULL, 10);
    CALL(SYS_sendfile, p.write, in, &at, 5);
    show_read(p.read);
    CALL(SYS_sendfile, s[0], 99, NULL, 10);
    CALL(SYS_sendfile, 99, in, NULL, 10);
    CALL(SYS_sendfile, s[0], in, 8, 10);
}

int main(int argc, char **argv) {
    (void)argc, (void)argv;
    apart();
    files();
    pipes();
    sockets();
    return 42;
}
