/* Waiting for many: poll, select, epoll, and the files made to be waited for. */
#include "linux.h"

#define POLLIN 1
#define POLLOUT 4
#define POLLHUP 0x10
#define POLLRDHUP 0x2000
#define EPOLLET (1U << 31)
#define EPOLLONESHOT (1U << 30)
#define EPOLL_ADD 1
#define EPOLL_DEL 2
#define EPOLL_MOD 3
#define SEMAPHORE 1

struct event { u32 events; u64 data; } __attribute__((packed));

static struct pipe p, q;
static struct event got[8];
static char buffer[1 << 17];
static volatile i32 handled;

static void on_signal(i32 signal) { handled = signal; }

static void show_polled(struct pollfd *f, i32 n) {
    for (i32 i = 0; i < n; i++)
        print(" %x", f[i].revents);
    print("\n");
}

static void polls(void) {
    struct timespec little = {0, 1000000}, none = {0, 0}, wrong = {0, -1};
    u64 set = BIT(SIGUSR1), empty = 0;
    i64 file, before;

    print("-- poll\n");
    make_pipe(&p), make_pipe(&q);
    file = syscall(SYS_open, "file", O_RDWR | O_CREAT, 0644);
    struct pollfd f[6] = {{p.read, POLLIN, 0}, {p.write, POLLOUT, 0}, {-1, POLLIN, 7}, {99, POLLIN, 0}, {(i32)file, POLLIN | POLLOUT, 0}, {p.write, POLLIN, 0}};
    CALL(SYS_poll, f, 6, 0);
    show_polled(f, 6);
    CALL(SYS_poll, f, 1, 0);
    before = microseconds();
    CALL(SYS_poll, f, 1, 2);
    CHECK(microseconds() - before >= 2000);
    CALL(SYS_poll, NULL, 0, 1);
    passes(p.write);
    CALL(SYS_poll, f, 2, -1);
    show_polled(f, 2);
    f[0].events = 0;
    CALL(SYS_poll, f, 1, 0);
    f[0].events = POLLIN;
    awaits(p.read);
    syscall(SYS_fcntl, p.write, F_SETFL, O_NONBLOCK);
    CALL(SYS_write, p.write, buffer, 100000);
    CALL(SYS_poll, f, 2, 0);
    show_polled(f, 2);
    CALL(SYS_read, p.read, buffer, 100000);
    closes(p.write);
    CALL(SYS_poll, f, 1, -1);
    show_polled(f, 1);
    closes(p.read);
    f[0].fd = q.write, f[0].events = POLLOUT;
    closes(q.read);
    CALL(SYS_poll, f, 1, -1);
    show_polled(f, 1);
    closes(q.write);
    CALL(SYS_poll, 8, 1, 0);
    CALL(SYS_poll, f, 0x7fffffff, 0);

    make_pipe(&p);
    i64 pid = fork();
    if (pid == 0) {
        nap(2);
        passes(p.write);
        quit(0);
    }
    f[0].fd = p.read, f[0].events = POLLIN;
    CALL(SYS_poll, f, 1, 5000);                 /* woken by another */
    reap("child", pid);
    awaits(p.read);
    closes(p.write);
    handle(SIGUSR1, (void *)on_signal, 0, 0);
    mask(SIG_BLOCK, set);
    syscall(SYS_kill, syscall(SYS_getpid), SIGUSR1);
    make_pipe(&q);
    f[0].fd = q.read;
    CALL(SYS_ppoll, f, 1, &little, NULL, 8);
    CALL(SYS_ppoll, f, 1, &none, &set, 8);
    CALL(SYS_ppoll, f, 1, &wrong, NULL, 8);
    CALL(SYS_ppoll, f, 1, &none, &set, 7);
    CHECK(handled == 0);
    CALL(SYS_ppoll, f, 1, NULL, &empty, 8);
    CHECK(handled == SIGUSR1);
    print("mask %lx\n", mask(SIG_SETMASK, 0));
    closes(file);
}

static void selects(void) {
    u64 in[16] = {0}, out[16] = {0}, set = BIT(SIGUSR1), empty = 0;
    i64 time[2] = {0, 1000}, wrong[2] = {-1, 0};
    struct timespec little = {0, 1000000};
    struct { u64 *set, size; } with = {&empty, 8}, without = {&set, 8};

    print("-- select\n");
    in[0] = 1UL << p.read | 1UL << q.read, out[0] = 1UL << q.write;     /* p has no writer any more */
    CALL(SYS_select, 64, in, out, NULL, NULL);
    CHECK(in[0] == 1UL << p.read && out[0] == 1UL << q.write);
    in[0] = 1UL << q.read, out[0] = 0;
    CALL(SYS_select, q.read + 1, in, out, NULL, time);
    CHECK(in[0] == 0);
    print("left %ld\n", time[0] + time[1]);
    in[0] = 1UL << q.read;
    CALL(SYS_select, q.read, in, NULL, NULL, time);     /* it is not among the first */
    in[0] = 1UL << 63;
    CALL(SYS_select, 64, in, NULL, NULL, time);
    CALL(SYS_select, -1, in, NULL, NULL, time);
    CALL(SYS_select, 0, NULL, NULL, NULL, wrong);
    CALL(SYS_select, 64, 8, NULL, NULL, time);
    mask(SIG_BLOCK, set);
    handled = 0;
    syscall(SYS_kill, syscall(SYS_getpid), SIGUSR1);
    in[0] = 1UL << q.read;
    CALL(SYS_pselect6, 64, in, NULL, NULL, &little, &without);
    CHECK(handled == 0);
    in[0] = 1UL << q.read;
    CALL(SYS_pselect6, 64, in, NULL, NULL, NULL, &with);
    CHECK(handled == SIGUSR1 && in[0] == 1UL << q.read);
    mask(SIG_SETMASK, 0);
}

static i64 control(i64 e, i32 op, i32 fd, u32 events, u64 data) {
    struct event v = {events, data};

    return syscall(SYS_epoll_ctl, e, op, fd, &v);
}

static void waits(const char *what, i64 e) {
    i64 n = syscall(SYS_epoll_wait, e, got, 8, 0);

    print("%s: %ld", what, n);
    for (i64 i = 0; i < n; i++)                 /* in order of their data */
        for (i64 j = 0; j < n; j++) {
            i64 before = 0;
            for (i64 k = 0; k < n; k++)
                before += got[k].data < got[j].data;
            if (before == i)
                print(" %lu:%x", got[j].data, got[j].events);
        }
    print("\n");
}

static void epolls(void) {
    print("-- epoll\n");
    closes(p.read), closes(q.read), closes(q.write);
    make_pipe(&p), make_pipe(&q);
    i64 e = syscall(SYS_epoll_create1, O_CLOEXEC), file = syscall(SYS_open, "file", O_RDWR, 0);
    CALL(SYS_fcntl, e, F_GETFD, 0);
    CALL(SYS_epoll_create1, 1);
    CALL(SYS_epoll_wait, e, got, 0, 0);
    CALL(SYS_epoll_wait, p.read, got, 8, 0);
    CALL(SYS_epoll_wait, 99, got, 8, 0);
    CALL(SYS_epoll_wait, e, got, 8, 1);
    RESULT(control(e, EPOLL_ADD, p.read, POLLIN, 1));
    RESULT(control(e, EPOLL_ADD, p.read, POLLIN, 1));
    RESULT(control(e, EPOLL_MOD, q.read, POLLIN, 1));
    RESULT(control(e, EPOLL_DEL, q.read, POLLIN, 1));
    RESULT(control(e, EPOLL_ADD, 99, POLLIN, 1));
    RESULT(control(99, EPOLL_ADD, p.read, POLLIN, 1));
    RESULT(control(e, EPOLL_ADD, (i32)e, POLLIN, 1));
    RESULT(control(e, EPOLL_ADD, (i32)file, POLLIN, 1));
    RESULT(control(p.read, EPOLL_ADD, q.read, POLLIN, 1));
    RESULT(control(e, 9, p.read, POLLIN, 1));
    CALL(SYS_epoll_ctl, e, EPOLL_ADD, q.read, 8);
    waits("nothing", e);
    passes(p.write);
    waits("level", e);
    waits("level again", e);
    RESULT(control(e, EPOLL_MOD, p.read, POLLIN | EPOLLET, 2));
    waits("edge", e);
    waits("edge again", e);
    passes(p.write);
    waits("edge after more", e);
    RESULT(control(e, EPOLL_MOD, p.read, POLLIN | EPOLLONESHOT, 3));
    waits("once", e);
    waits("once again", e);
    RESULT(control(e, EPOLL_MOD, p.read, POLLIN | EPOLLONESHOT, 4));
    waits("armed again", e);
    RESULT(control(e, EPOLL_MOD, p.read, POLLIN, 5));
    RESULT(control(e, EPOLL_ADD, p.write, POLLOUT, 6));
    RESULT(control(e, EPOLL_ADD, q.write, POLLOUT | EPOLLET, 7));
    waits("three", e);
    waits("two", e);
    CALL(SYS_epoll_wait, e, got, 1, -1);
    awaits(p.read), awaits(p.read);
    waits("one", e);
    RESULT(control(e, EPOLL_DEL, p.write, 0, 0));
    i64 outer = syscall(SYS_epoll_create1, 0);  /* one waits for the other */
    RESULT(control(outer, EPOLL_ADD, (i32)e, POLLIN, 100));
    RESULT(control(e, EPOLL_ADD, (i32)outer, POLLIN, 100));
    waits("outer", outer);
    passes(p.write);
    waits("outer", outer);
    struct pollfd f = {(i32)e, POLLIN, 0};
    CALL(SYS_poll, &f, 1, 0);
    awaits(p.read);
    waits("outer", outer);
    closes(p.write);
    waits("hangup", e);
    waits("hangup outside", outer);
    i64 again = syscall(SYS_dup, p.read);
    closes(p.read);                             /* it stays while the dup is open */
    waits("still", e);
    closes(again);
    waits("closed", e);
    closes(q.read);
    waits("nobody reads", e);
    closes(q.write);

    i32 s[2];
    syscall(SYS_socketpair, 1, 1, 0, s);
    RESULT(control(e, EPOLL_ADD, s[0], POLLIN | POLLOUT | POLLRDHUP, 8));
    waits("socket", e);
    syscall(SYS_write, s[1], "x", 1);
    waits("with a byte", e);
    syscall(SYS_shutdown, s[1], 1);
    waits("half shut", e);
    closes(s[1]);
    waits("shut", e);
    closes(s[0]);

    i64 row[8];                                 /* one waits for the other, so many deep */
    row[0] = syscall(SYS_epoll_create1, 0);
    for (u64 i = 1; i < COUNT(row); i++) {
        row[i] = syscall(SYS_epoll_create1, 0);
        RESULT(control(row[i], EPOLL_ADD, (i32)row[i - 1], POLLIN, i));
    }
    for (u64 i = 0; i < COUNT(row); i++)
        closes((i32)row[i]);
    make_pipe(&p);
    control(e, EPOLL_ADD, p.read, POLLIN, 9);
    i64 pid = fork();
    if (pid == 0) {
        nap(2);
        passes(p.write);
        quit(0);
    }
    CALL(SYS_epoll_wait, e, got, 8, 5000);
    reap("child", pid);
    u64 set = BIT(SIGUSR1), empty = 0;
    awaits(p.read);
    mask(SIG_BLOCK, set);
    handled = 0;
    syscall(SYS_kill, syscall(SYS_getpid), SIGUSR1);
    CALL(SYS_epoll_pwait, e, got, 8, 1, NULL, 8);
    CALL(SYS_epoll_pwait, e, got, 8, -1, &empty, 8);
    CHECK(handled == SIGUSR1);
    mask(SIG_SETMASK, 0);
    closes(e), closes(outer), closes(p.read), closes(p.write), closes(file);
}

static void events(void) {
    u64 v = 5;
    struct pollfd f = {0, POLLIN | POLLOUT, 0};

    print("-- eventfd\n");
    i64 e = syscall(SYS_eventfd2, 3, O_NONBLOCK);
    f.fd = (i32)e;
    CALL(SYS_read, e, &v, 8);
    print("value %lu\n", v);
    CALL(SYS_read, e, &v, 8);
    CALL(SYS_write, e, &v, 8);
    CALL(SYS_write, e, &v, 8);
    CALL(SYS_read, e, &v, 4);
    CALL(SYS_write, e, &v, 4);
    CALL(SYS_read, e, buffer, 100);
    print("value %lu\n", *(u64 *)buffer);
    v = ~0UL;
    CALL(SYS_write, e, &v, 8);
    CALL(SYS_poll, &f, 1, 0);
    show_polled(&f, 1);
    v = ~0UL - 1;
    CALL(SYS_write, e, &v, 8);
    CALL(SYS_poll, &f, 1, 0);
    show_polled(&f, 1);
    v = 1;
    CALL(SYS_write, e, &v, 8);
    v = 0;
    CALL(SYS_write, e, &v, 8);
    CALL(SYS_eventfd2, 0, 0x100);
    closes(e);
    e = syscall(SYS_eventfd2, 2, SEMAPHORE | O_NONBLOCK);
    CALL(SYS_read, e, &v, 8);
    CALL(SYS_read, e, &v, 8);
    print("value %lu\n", v);
    CALL(SYS_read, e, &v, 8);
    closes(e);
    e = syscall(SYS_eventfd2, 0, 0);
    i64 pid = fork();
    if (pid == 0) {
        for (v = 1; v <= 100; v++)
            syscall(SYS_write, e, &v, 8);
        quit(0);
    }
    for (u64 sum = 0; sum < 5050; sum += v)
        syscall(SYS_read, e, &v, 8);
    reap("sum reached", pid);
    closes(e);
}

static void timers(void) {
    struct itimer once = {{0, 0}, {0, 2000000}}, every = {{0, 1000000}, {0, 1000000}}, past = {{0, 0}, {0, 1}}, off = {{0, 0}, {0, 0}}, left;
    struct itimer far = {{7, 8}, {100, 0}}, wrong = {{0, 0}, {0, 1000000000}};
    struct pollfd f = {0, POLLIN, 0};
    u64 n = 0;

    print("-- timerfd\n");
    i64 t = syscall(SYS_timerfd_create, 1, O_NONBLOCK);
    f.fd = (i32)t;
    CALL(SYS_timerfd_create, 99, 0);
    CALL(SYS_timerfd_create, 1, 1);
    CALL(SYS_read, t, &n, 8);
    CALL(SYS_timerfd_settime, t, 0, &far, NULL);
    CALL(SYS_read, t, &n, 8);
    CALL(SYS_poll, &f, 1, 0);
    CALL(SYS_timerfd_gettime, t, &left);
    CHECK(left.value[0] == 99 && left.every[0] == 7 && left.every[1] == 8);
    CALL(SYS_timerfd_settime, t, 0, &once, &left);
    CHECK(left.value[0] == 99);
    CALL(SYS_poll, &f, 1, -1);
    CALL(SYS_read, t, &n, 4);
    CALL(SYS_read, t, &n, 8);
    print("expired %lu\n", n);
    CALL(SYS_read, t, &n, 8);
    CALL(SYS_timerfd_gettime, t, &left);
    print("left %ld %ld\n", left.value[0], left.value[1]);
    CALL(SYS_timerfd_settime, t, 1, &past, NULL);
    CALL(SYS_poll, &f, 1, -1);
    CALL(SYS_read, t, &n, 8);
    print("expired %lu\n", n);
    CALL(SYS_timerfd_settime, t, 0, &every, NULL);
    nap(4);
    CALL(SYS_read, t, &n, 8);
    CHECK(n >= 3);
    CALL(SYS_timerfd_settime, t, 0, &off, NULL);
    CALL(SYS_read, t, &n, 8);
    CALL(SYS_timerfd_settime, t, 0, &wrong, NULL);
    CALL(SYS_timerfd_settime, t, 77, &off, NULL);
    CALL(SYS_timerfd_settime, 0, 0, &off, NULL);
    CALL(SYS_write, t, &n, 8);
    closes(t);
    t = syscall(SYS_timerfd_create, 0, 0);      /* blocks */
    CALL(SYS_timerfd_settime, t, 0, &once, NULL);
    CALL(SYS_read, t, &n, 8);
    print("expired %lu\n", n);
    closes(t);
}

static void signals(void) {
    u64 set = BIT(SIGUSR1) | BIT(SIGUSR2);
    struct pollfd f = {0, POLLIN, 0};

    print("-- signalfd\n");
    mask(SIG_BLOCK, set);
    i64 s = syscall(SYS_signalfd4, -1, &set, 8, O_NONBLOCK);
    f.fd = (i32)s;
    CALL(SYS_read, s, buffer, 128);
    CALL(SYS_poll, &f, 1, 0);
    syscall(SYS_kill, syscall(SYS_getpid), SIGUSR2);
    syscall(SYS_kill, syscall(SYS_getpid), SIGUSR1);
    CALL(SYS_poll, &f, 1, 0);
    CALL(SYS_read, s, buffer, 127);
    CALL(SYS_read, s, buffer, 1000);
    print("%u %u\n", *(u32 *)buffer, *(u32 *)(buffer + 128));
    CALL(SYS_read, s, buffer, 128);
    closes(s);
}

int main(int argc, char **argv) {
    (void)argc, (void)argv;
    begin();
    polls();
    selects();
    epolls();
    events();
    timers();
    signals();
    return 42;
}
