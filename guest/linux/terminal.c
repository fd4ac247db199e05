/* A terminal, and somebody at it who types what this program asks for on its standard error: a length in four bytes,
 * and what to type.  The argument says which part of the terminal is tried. */
#include "linux.h"

#define TCGETS 0x5401
#define TCSETS 0x5402
#define TCSETSF 0x5404
#define TCXONC 0x540a
#define TCFLSH 0x540b
#define TIOCSCTTY 0x540e
#define TIOCNOTTY 0x5422
#define O_NOCTTY 0400
#define POLLIN 1
#define POLLOUT 4
#define EPOLL_ADD 1
#define EPOLLET 0x80000000u
#define IXON 02000
#define ISIG 1
#define ICANON 2
#define ECHO 8
#define NOFLSH 0x80
#define ECHOCTL 0x200
#define VTIME 5
#define VMIN 6
#define ARRIVES 100             /* ms */

struct termios { u32 iflag, oflag, cflag, lflag; u8 line, cc[19]; };
struct epoll_event { u32 events; u64 data; } __attribute__((packed));

static struct termios usual;
static u8 buffer[16384] __attribute__((aligned(4096)));
static i32 interrupts;

static void on_interrupt(i32 signal) {
    (void)signal;
    interrupts++;
}

static void ask(const void *bytes, u32 n) {
    static u8 request[4 + 8192];

    memcpy(request, &n, 4);
    memcpy(request + 4, bytes, n);
    syscall(SYS_write, 2, request, 4 + n);
    syscall(SYS_read, 2, request, 1);           /* typed, where somebody can tell us so */
}

#define ASK(text) ask(text, sizeof text - 1)
#define TYPE(text) (ASK(text), nap(ARRIVES))

static void type_many(u8 what, u32 n) {
    memset(buffer, what, n);
    ask(buffer, n);
    nap(ARRIVES);
}

static i64 set(const struct termios *t) { return syscall(SYS_ioctl, 0, TCSETS, t); }

/* Unechoed, so that what is printed is in no race with what is typed. */
static void canonical(u32 more) {
    struct termios t = usual;

    t.lflag = (t.lflag & ~(u32)ECHO) | more;
    set(&t);
}

static void raw(u8 least, u8 tenths) {
    struct termios t = usual;

    t.lflag &= ~(u32)(ECHO | ICANON);
    t.cc[VMIN] = least, t.cc[VTIME] = tenths;
    set(&t);
}

static void reset(void) {
    syscall(SYS_ioctl, 0, TCFLSH, 0);
    canonical(0);
}

static i64 waiting(void) {
    i32 n = -1;
    i64 r = syscall(SYS_ioctl, 0, FIONREAD, &n);

    return r ? r : n;
}

static u16 polled(void) {
    struct pollfd f = {0, POLLIN | POLLOUT, 0};

    syscall(SYS_poll, &f, 1, 0);
    return f.revents;
}

static void show_bytes(const char *what, const u8 *bytes, i64 n) {
    print("%s: %ld", what, n);
    for (i64 i = 0; i < n && i < 24; i++)
        print(bytes[i] < 32 || bytes[i] > 126 ? " %x" : " %c", bytes[i]);
    print("\n");
}

static void reads(const char *what, u64 n) {
    show_bytes(what, buffer, syscall(SYS_read, 0, buffer, n));
}

/* Without waiting: -EAGAIN where there is nothing. */
static void finds(const char *what) {
    i64 flags = syscall(SYS_fcntl, 0, F_GETFL);

    syscall(SYS_fcntl, 0, F_SETFL, flags | O_NONBLOCK);
    reads(what, 4096);
    syscall(SYS_fcntl, 0, F_SETFL, flags);
}

/* ---- what ends a line ---- */

static void lines(void) {
    TYPE("one\ntwo\nthr");
    reads("first", 100), reads("second", 100), finds("third");
    TYPE("ee\n");
    reads("third", 100);
    TYPE("\x04");
    print("there: %ld, poll %x\n", waiting(), polled());
    reads("end", 100);
    TYPE("abc\x04x\n");
    print("there: %ld\n", waiting());
    reads("before the mark", 100), reads("behind it", 100), finds("nothing");
    TYPE("\x04line\n\x04");
    reads("end", 100), reads("line", 100), reads("end", 100), finds("nothing");
    TYPE("abc\x04" "def\n");
    reads("all but the mark", 3), reads("and then", 3), reads("and then", 3);
    TYPE("abc\x04\x04\n");
    reads("two", 2), reads("one", 2), reads("mark", 2), reads("line", 2);
    finds("nothing");

    print("-- dropped\n");
    TYPE("\x04\x03");
    print("interrupts %d\n", interrupts);
    finds("after ^C");
    TYPE("\x04line\n");
    RESULT(syscall(SYS_ioctl, 0, TCFLSH, 0));
    finds("after a flush");
    TYPE("\x04part");
    struct termios same;
    syscall(SYS_ioctl, 0, TCGETS, &same);
    RESULT(syscall(SYS_ioctl, 0, TCSETSF, &same));
    finds("after settings that flush");
    TYPE("s\n");
    reads("what came then", 100);
    RESULT(syscall(SYS_ioctl, 0, TCFLSH, 3));

    canonical(NOFLSH);
    TYPE("kept\x03\n");
    reads("in spite of ^C", 100);
    print("interrupts %d\n", interrupts);
    canonical(0);

    print("-- in and out of canonical mode\n");
    TYPE("whole\npart\x04mark");
    raw(1, 0);
    reads("raw", 100);
    raw(0, 0);
    TYPE("one\ntwo");
    canonical(0);
    reads("pushed", 100);
    TYPE("x\n");
    reads("line", 100);

    print("-- erased\n");
    TYPE("abc\x7f\x7fx\n\x7fy\n");
    reads("erased", 100), reads("not over a line's end", 100);
    TYPE("abc\x15" "d\n");
    reads("killed", 100);

    print("-- across pages\n");
    TYPE("a line across the border\n");
    show_bytes("line", buffer + 4090, syscall(SYS_read, 0, buffer + 4090, 100));
    TYPE("border\nnext\n");
    show_bytes("ends there", buffer + 4089, syscall(SYS_read, 0, buffer + 4089, 100));
    reads("next", 100);
    TYPE("border\x04next\n");
    show_bytes("ends there", buffer + 4090, syscall(SYS_read, 0, buffer + 4090, 100));
    reads("next", 100);
}

static void echoes(void) {
    canonical(ECHO);
    TYPE("seen\n");
    reads("line", 100);
    TYPE("a\x01\x7f\x7f" "b\x1b\tc\r");
    reads("line", 100);
    TYPE("a\x04");
    reads("mark", 100);
    TYPE("\x03");
    finds("nothing");
    struct termios t = usual;
    t.oflag = 0;
    set(&t);
    TYPE("x\n");
    print("\r");
    reads("bare", 100);
    t.lflag &= ~(u32)ECHOCTL;
    set(&t);
    TYPE("\x02\n");
    set(&usual);
    reads("as it is", 100);
}

/* ---- more than fits ---- */

static void full(void) {
    type_many('a', 5000);
    finds("no line");
    TYPE("\x03");
    print("interrupts %d\n", interrupts);
    finds("nothing");
    type_many('b', 5000);
    TYPE("xyz\n");
    i64 n = syscall(SYS_read, 0, buffer, sizeof buffer);
    print("line: %ld, %d %d %d\n", n, buffer[0], buffer[n - 2], buffer[n - 1]);
    TYPE("next\n");
    reads("next", 100);
    type_many('c', 5000);
    TYPE("\x7f\x7f\n");
    print("erased: %ld\n", syscall(SYS_read, 0, buffer, sizeof buffer));

    print("-- whole lines wait\n");
    memset(buffer, 'd', 6000);
    for (u64 i = 49; i < 6000; i += 50)
        buffer[i] = '\n';
    ask(buffer, 6000);
    nap(ARRIVES);
    u64 sum = 0, count = 0;
    for (; sum < 6000 && (n = syscall(SYS_read, 0, buffer, sizeof buffer)) > 0; count++)
        sum += (u64)n;
    print("%lu lines, %lu bytes\n", count, sum);

    print("-- raw\n");
    raw(1, 0);
    type_many('e', 6000);
    for (sum = 0; sum < 6000 && (n = syscall(SYS_read, 0, buffer, sizeof buffer)) > 0;)
        sum += (u64)n;
    print("%lu bytes\n", sum);
}

/* ---- stopped output ---- */

/* Does what somebody writes reach the terminal? */
static i64 writer(struct pipe *done, const char *text) {
    make_pipe(done);
    i64 pid = fork();
    if (pid == 0) {
        i64 n = syscall(SYS_write, 1, text, strlen(text));
        passes(n > 0 ? done->write : 2);
        quit((i32)n & 0xff);
    }
    closes(done->write);
    nap(ARRIVES);
    return pid;
}

static i32 is_done_in(struct pipe *done, i64 milliseconds) {
    struct pollfd f = {done->read, POLLIN, 0};

    return syscall(SYS_poll, &f, 1, milliseconds) == 1;
}

static i32 is_done(struct pipe *done) { return is_done_in(done, 0); }

static void finish(struct pipe *done, i64 pid) {
    reap("writer", pid);
    print("done: %d\n", is_done(done));
    closes(done->read);
}

static void flow(void) {
    struct pipe p;
    i32 stopped;

    TYPE("\x13");
    i64 pid = writer(&p, "held\n");
    stopped = !is_done(&p);
    u16 events = polled();
    i64 flags = syscall(SYS_fcntl, 1, F_GETFL);
    syscall(SYS_fcntl, 1, F_SETFL, flags | O_NONBLOCK);
    i64 refused = syscall(SYS_write, 1, "lost\n", 5);
    syscall(SYS_fcntl, 1, F_SETFL, flags);
    TYPE("\x11");
    finish(&p, pid);
    print("stopped %d, poll %x, then %x, not waiting %ld\n", stopped, events, polled(), refused);
    TYPE("a\x13" "b\x11\n");
    reads("no data", 100);

    print("-- cut short\n");
    TYPE("\x13");
    if ((pid = fork()) == 0) {
        handle(SIGALRM, on_interrupt, 0, 0);
        syscall(SYS_alarm, 1);
        quit((i32)-syscall(SYS_write, 1, "lost\n", 5));
    }
    i32 status = 0;
    syscall(SYS_wait4, pid, &status, 0, NULL);
    TYPE("\x11");
    show_status("writer", status);

    print("-- interrupted\n");
    TYPE("\x13");
    pid = writer(&p, "let go\n");
    stopped = !is_done(&p);
    TYPE("\x03");
    finish(&p, pid);
    print("stopped %d, interrupts %d\n", stopped, interrupts);

    print("-- by a program\n");
    syscall(SYS_ioctl, 1, TCXONC, 0);
    pid = writer(&p, "paused\n");
    stopped = !is_done(&p);
    TYPE("\x11");
    stopped += !is_done(&p);
    TYPE("\x03");
    stopped += !is_done(&p);
    i64 on = syscall(SYS_ioctl, 1, TCXONC, 1);
    finish(&p, pid);
    print("stopped %d, on %ld\n", stopped, on);
    CALL(SYS_ioctl, 1, TCXONC, 1);
    CALL(SYS_ioctl, 1, TCXONC, 9);

    print("-- no more keys\n");
    TYPE("\x13");
    pid = writer(&p, "freed\n");
    stopped = !is_done(&p);
    struct termios t = usual;
    t.lflag &= ~(u32)ECHO;
    t.iflag &= ~(u32)IXON;
    set(&t);
    finish(&p, pid);
    print("stopped %d\n", stopped);
    TYPE("\x13\x11\n");
    reads("data", 100);

    print("-- echo waits\n");
    canonical(ECHO);
    TYPE("\x13unseen\n\x11");
    reads("line", 100);
}

/* ---- reads that end by the clock ---- */

/* Somebody else asks for the keys, each after a pause, while we read. */
static void timed(const char *what, const char *keys, u64 n, i64 pause, i64 next_pause) {
    i64 pid = fork();

    if (pid == 0) {
        for (; *keys; keys++, pause = next_pause)
            nap(pause), ask(keys, 1);
        quit(0);
    }
    i64 before = microseconds();
    i64 got = syscall(SYS_read, 0, buffer, n);
    i64 halves = (microseconds() - before) / 500000;
    i32 status;
    syscall(SYS_wait4, pid, &status, 0, NULL);
    nap(ARRIVES);
    show_bytes(what, buffer, got);
    print("half seconds: %ld\n", halves);
    syscall(SYS_ioctl, 0, TCFLSH, 0);
}

static void times(void) {
    raw(0, 0);
    reads("nothing", 10);
    finds("nothing, not waiting");
    TYPE("ab");
    reads("two", 10);
    raw(0, 5);
    reads("nothing in time", 10);
    finds("not waiting");
    timed("in time", "x", 10, 250, 0);
    raw(3, 0);
    TYPE("a");
    print("poll %x, there %ld\n", polled(), waiting());
    finds("less than the least");
    TYPE("abc");
    print("poll %x\n", polled());
    reads("three", 10);
    TYPE("z");
    reads("no room for more", 1);
    raw(3, 10);
    timed("the clock starts with the first", "xy", 10, 1200, 300);
    timed("and with each", "xyz", 10, 1200, 300);
    TYPE("p");
    timed("one was there", "q", 10, 600, 0);
    TYPE("pqr");
    reads("enough was there", 10);
}

/* ---- who is told ---- */

static i64 told_of(i64 e) {
    struct epoll_event got[4];
    i64 n = syscall(SYS_epoll_wait, e, got, 4, 0);

    return n > 0 ? got[0].events & 0xffff : n;
}

static void told(const char *what, i64 e) { print("%s: %lx\n", what, told_of(e)); }

static void edges(void) {
    i64 e = syscall(SYS_epoll_create1, 0);
    struct epoll_event in = {POLLIN | EPOLLET, 1}, out = {POLLOUT | EPOLLET, 2};

    CALL(SYS_epoll_ctl, e, EPOLL_ADD, 0, &in);
    told("nothing", e);
    TYPE("one\n");
    told("a line", e), told("again", e);
    TYPE("part");
    told("part of a line", e);
    TYPE("\n");
    told("a second line", e), told("again", e);
    reads("first", 100), reads("second", 100);
    TYPE("three\n");
    told("drained, then a third", e), told("again", e);
    reads("third", 100);
    TYPE("\x04");
    told("a mark", e);
    reads("mark", 100);
    closes(e);

    e = syscall(SYS_epoll_create1, 0);
    syscall(SYS_epoll_ctl, e, EPOLL_ADD, 1, &out);
    nap(ARRIVES);                               /* what is printed makes room again: no word until all is known */
    i64 room = told_of(e), again = told_of(e);
    TYPE("\x13\x11");
    i64 free = told_of(e);
    print("room %lx, again %lx, stopped and let go %lx\n", room, again, free);
    closes(e);

    print("-- signals\n");
    u64 wanted = BIT(SIGUSR1) | BIT(SIGUSR2);
    mask(SIG_BLOCK, wanted);
    i64 s = syscall(SYS_signalfd4, -1, &wanted, 8, O_NONBLOCK), me = syscall(SYS_getpid);
    e = syscall(SYS_epoll_create1, 0);
    syscall(SYS_epoll_ctl, e, EPOLL_ADD, s, &in);
    told("none", e);
    syscall(SYS_kill, me, SIGUSR1);
    told("one", e), told("again", e);
    syscall(SYS_kill, me, SIGUSR1);
    told("it waits already", e);
    syscall(SYS_kill, me, SIGUSR2);
    told("another", e), told("again", e);
    print("read %ld\n", syscall(SYS_read, s, buffer, 1024));
    syscall(SYS_kill, me, SIGUSR1);
    told("drained, then one", e);
    print("read %ld\n", syscall(SYS_read, s, buffer, 1024));
    syscall(SYS_tgkill, me, me, SIGUSR2);
    told("to the thread", e);
    closes(e), closes(s);
}

/* A reader sleeps, and somebody else's question finds what has come. */
static void wakes(void) {
    struct pipe p;
    i32 poll;

    for (poll = 0; poll < 2; poll++) {
        make_pipe(&p);
        i64 pid = fork();
        if (pid == 0) {
            i64 n = syscall(SYS_read, 0, buffer, 100);
            syscall(SYS_write, p.write, "!", 1);
            quit((i32)n);
        }
        nap(ARRIVES);
        ASK("line\n");
        for (i32 i = 0; i < 100; i++)
            poll ? (void)polled() : (void)waiting();
        i32 woken = is_done_in(&p, 2000);
        print("woken %d\n", woken);
        if (!woken)
            syscall(SYS_kill, pid, SIGKILL);
        reap("reader", pid);
        closes(p.read), closes(p.write);
        reset();
    }
}

/* Is the terminal the session's? */
static void has(const char *what) {
    i64 fd = syscall(SYS_open, "/dev/tty", O_RDWR, 0);

    print("%s: %s\n", what, fd >= 0 ? "ours" : "nobody's");
    closes(fd);
}

static void owner(const char *name) {
    handle(SIGHUP, SIG_IGN, 0, 0);
    has("at first");
    RESULT(syscall(SYS_ioctl, 0, TIOCNOTTY, 0));
    has("given up");
    closes(syscall(SYS_open, name, O_RDWR | O_NOCTTY, 0));
    has("opened so that it is not");
    closes(syscall(SYS_open, name, O_WRONLY, 0));
    has("opened to write");
    closes(syscall(SYS_open, name, O_RDWR, 0));
    has("opened");
    RESULT(syscall(SYS_ioctl, 0, TIOCNOTTY, 0));
    i64 fd = syscall(SYS_open, name, O_RDWR | O_NOCTTY, 0);
    print("flags %lx\n", syscall(SYS_fcntl, fd, F_GETFL));
    RESULT(syscall(SYS_ioctl, fd, TIOCSCTTY, 0));
    has("taken");
}

static const struct { const char *name; void (*try)(void); } parts[] = {
    {"lines", lines}, {"echoes", echoes}, {"full", full}, {"flow", flow}, {"times", times}, {"edges", edges}, {"wakes", wakes},
};

/* What leads the session only waits, so that a signal from the terminal ends nothing. */
int main(int argc, char **argv) {
    i32 status = 0;

    syscall(SYS_close_range, 3, ~0U, 0);
    if (argc > 2) {
        owner(argv[2]);
        return 42;
    }
    handle(SIGINT, SIG_IGN, 0, 0);
    i64 pid = fork();
    if (pid) {
        syscall(SYS_wait4, pid, &status, 0, NULL);
        show_status("it", status);
        return 42;
    }
    handle(SIGINT, on_interrupt, SA_RESTART, 0);
    syscall(SYS_ioctl, 0, TCGETS, &usual);
    reset();
    for (u64 i = 0; i < COUNT(parts); i++)
        if (!strcmp(parts[i].name, argv[1]))
            parts[i].try();
    set(&usual);
    quit(0);
}
