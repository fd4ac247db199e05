/* Signals: handlers, masks, queues, and the calls that they interrupt. */
#include "linux.h"

static volatile i32 handled, inner, count, order[16];
static volatile i64 depth;
static volatile u64 mask_inside, value;
static struct siginfo seen;
static struct pipe p, q;
static char buffer[PAGE];

static void on_signal(i32 signal) {
    handled = signal;
    order[count++ & 15] = signal;
}

static void on_info(i32 signal, struct siginfo *info, struct context *c) {
    seen = *info;
    value = info->value;
    mask_inside = mask(SIG_BLOCK, 0);
    (void)c;
    on_signal(signal);
}

static void show_order(const char *what) {
    print("%s:", what);
    for (i32 i = 0; i < count; i++)
        print(" %d", order[i & 15]);
    print("\n");
    count = 0;
}

static i64 me(void) { return syscall(SYS_getpid); }
static i64 to_me(i32 signal) { return syscall(SYS_kill, me(), signal); }
static i64 queue(i32 signal, i32 code, u64 v) {
    struct siginfo i = {.signo = signal, .code = code, .pid = (i32)me()};

    i.value = v;
    return syscall(SYS_rt_sigqueueinfo, me(), signal, &i);
}

static void actions(void) {
    struct action a = {(void *)on_signal, SA_RESTORER | SA_RESTART, restorer, BIT(SIGHUP) | BIT(SIGKILL)}, old;

    print("-- actions\n");
    CALL(SYS_rt_sigaction, SIGUSR1, &a, &old, 8);
    CHECK(old.handler == SIG_DFL && old.mask == 0);
    CALL(SYS_rt_sigaction, SIGUSR1, NULL, &old, 8);
    CHECK(old.handler == (void *)on_signal && old.restorer == restorer);
    print("flags %lx mask %lx\n", old.flags, old.mask);
    CALL(SYS_rt_sigaction, 0, NULL, &old, 8);
    CALL(SYS_rt_sigaction, 64, NULL, &old, 8);
    CALL(SYS_rt_sigaction, 65, NULL, &old, 8);
    CALL(SYS_rt_sigaction, SIGKILL, NULL, &old, 8);
    CALL(SYS_rt_sigaction, SIGSTOP, &a, NULL, 8);
    CALL(SYS_rt_sigaction, SIGUSR1, 8, NULL, 8);
    CALL(SYS_rt_sigaction, SIGUSR1, NULL, 8, 8);
    CALL(SYS_rt_sigaction, SIGUSR1, NULL, NULL, 16);
    RESULT(to_me(0));
    RESULT(to_me(65));
    RESULT(to_me(-1));
    CALL(SYS_kill, 0x3fffffff, SIGUSR1);
    CALL(SYS_tkill, 0, SIGUSR1);
    CALL(SYS_tgkill, me(), 0x3fffffff, SIGUSR1);
    CALL(SYS_tgkill, me() + 1, me(), SIGUSR1);

    handle(SIGUSR1, (void *)on_info, SA_SIGINFO, BIT(SIGHUP));
    RESULT(to_me(SIGUSR1));
    CHECK(seen.pid == me() && seen.uid == 0);
    print("signo %d code %d mask inside %lx and after %lx\n", seen.signo, seen.code, mask_inside, mask(SIG_BLOCK, 0));
    CALL(SYS_tkill, me(), SIGUSR1);
    print("code %d\n", seen.code);
    RESULT(queue(SIGUSR1, -1, 0x123456789abcdef0));
    print("code %d value %lx\n", seen.code, value);
    RESULT(queue(SIGUSR1, -7, 1));
    print("code %d\n", seen.code);
    RESULT(queue(0, -1, 1));
    handle(SIGUSR1, (void *)on_info, SA_SIGINFO | SA_NODEFER, 0);
    to_me(SIGUSR1);
    print("no defer: mask inside %lx\n", mask_inside);
    handle(SIGUSR1, (void *)on_signal, SA_RESETHAND, 0);
    count = 0;
    to_me(SIGUSR1);
    CALL(SYS_rt_sigaction, SIGUSR1, NULL, &old, 8);
    CHECK(old.handler == SIG_DFL);
    handle(SIGUSR1, SIG_IGN, 0, 0);
    to_me(SIGUSR1);
    show_order("reset, then ignored");
}

static void masks(void) {
    u64 set = BIT(SIGUSR1) | BIT(SIGKILL) | BIT(SIGSTOP), pending = 0, old;

    print("-- masks\n");
    CALL(SYS_rt_sigprocmask, SIG_BLOCK, &set, &old, 8);
    print("now %lx\n", mask(SIG_BLOCK, BIT(SIGUSR2)));
    print("now %lx\n", mask(SIG_UNBLOCK, BIT(SIGUSR1)));
    print("now %lx\n", mask(SIG_SETMASK, BIT(SIGUSR1) | BIT(SIGUSR2) | BIT(SIGRTMIN) | BIT(SIGRTMIN + 1)));
    CALL(SYS_rt_sigprocmask, 3, &set, NULL, 8);
    CALL(SYS_rt_sigprocmask, 3, NULL, &old, 8);
    CALL(SYS_rt_sigprocmask, SIG_BLOCK, &set, NULL, 7);
    CALL(SYS_rt_sigprocmask, SIG_BLOCK, 8, NULL, 8);

    handle(SIGUSR1, (void *)on_signal, 0, 0);
    handle(SIGUSR2, (void *)on_signal, 0, 0);
    handle(SIGRTMIN, (void *)on_info, SA_SIGINFO, ~0UL);
    handle(SIGRTMIN + 1, (void *)on_signal, 0, ~0UL);
    to_me(SIGUSR2), to_me(SIGUSR1), to_me(SIGUSR1);
    CALL(SYS_rt_sigpending, &pending, 8);
    print("pending %lx\n", pending);
    mask(SIG_SETMASK, BIT(SIGRTMIN) | BIT(SIGRTMIN + 1));
    show_order("each interrupts the one before");
    handle(SIGUSR1, (void *)on_signal, 0, ~0UL);
    handle(SIGUSR2, (void *)on_signal, 0, ~0UL);
    mask(SIG_BLOCK, BIT(SIGUSR1) | BIT(SIGUSR2));
    to_me(SIGRTMIN + 1), queue(SIGRTMIN, -1, 1), queue(SIGRTMIN, -1, 2), to_me(SIGUSR2), queue(SIGRTMIN, -1, 3), to_me(SIGRTMIN + 1);
    to_me(SIGUSR1);
    mask(SIG_SETMASK, 0);
    show_order("one after the other");
    print("last value %lu\n", value);

    mask(SIG_BLOCK, BIT(SIGUSR1));              /* what is ignored does not stay pending */
    to_me(SIGUSR1);
    handle(SIGUSR1, SIG_IGN, 0, 0);
    CALL(SYS_rt_sigpending, &pending, 8);
    print("pending %lx\n", pending);
    handle(SIGUSR1, (void *)on_signal, 0, 0);
    to_me(SIGUSR1);
    if (fork() == 0) {                          /* nor is it the child's, which has the mask */
        CALL(SYS_rt_sigpending, &pending, 8);
        print("child: pending %lx mask %lx\n", pending, mask(SIG_BLOCK, 0));
        quit(0);
    }
    reap("child", -1);
    mask(SIG_SETMASK, 0);
    show_order("then");
}

static void nest(i32 signal) {
    i64 mine = ++depth;

    if (mine < 20)
        to_me(signal == SIGUSR1 ? SIGUSR2 : SIGUSR1);
    if (mine == depth)
        inner++;
    depth--;
}

static void nested(void) {
    print("-- nested\n");
    handle(SIGUSR1, (void *)nest, SA_NODEFER, 0);
    handle(SIGUSR2, (void *)nest, SA_NODEFER, 0);
    to_me(SIGUSR1);
    print("depth %ld after, innermost %d\n", depth, inner);
}

static void waits(void) {
    struct timespec none = {0, 0}, little = {0, 2000000}, wrong = {0, -1};
    struct siginfo info;
    u64 set = BIT(SIGUSR1) | BIT(SIGRTMIN), empty = 0;

    print("-- waits\n");
    handle(SIGUSR1, (void *)on_signal, 0, 0);
    mask(SIG_SETMASK, BIT(SIGUSR1) | BIT(SIGRTMIN) | BIT(SIGHUP));
    to_me(SIGUSR1);
    CALL(SYS_rt_sigsuspend, &empty, 8);
    show_order("suspended");
    print("mask %lx\n", mask(SIG_BLOCK, 0));
    CALL(SYS_rt_sigsuspend, &empty, 4);
    CALL(SYS_rt_sigtimedwait, &set, &info, &none, 8);
    CALL(SYS_rt_sigtimedwait, &set, &info, &little, 8);
    CALL(SYS_rt_sigtimedwait, &set, &info, &wrong, 8);
    queue(SIGRTMIN, -1, 55), queue(SIGRTMIN, -1, 56), to_me(SIGUSR1);
    CALL(SYS_rt_sigtimedwait, &set, &info, NULL, 8);
    print("code %d\n", info.code);
    CALL(SYS_rt_sigtimedwait, &set, &info, NULL, 8);
    print("code %d value %lu\n", info.code, info.value);
    CALL(SYS_rt_sigtimedwait, &set, NULL, &none, 8);
    CALL(SYS_rt_sigtimedwait, &set, NULL, &none, 8);
    show_order("handled meanwhile");

    if (fork() == 0) {                          /* it comes while the parent waits */
        nap(2);
        syscall(SYS_kill, syscall(SYS_getppid), SIGUSR1);
        quit(0);
    }
    CALL(SYS_rt_sigtimedwait, &set, &info, NULL, 8);
    reap("child", -1);
    mask(SIG_SETMASK, 0);
}

/* Children report how they fare. */
static void children(void) {
    u64 all_but = ~BIT(SIGCHLD);

    print("-- children\n");
    handle(SIGCHLD, (void *)on_info, SA_SIGINFO, 0);
    mask(SIG_SETMASK, BIT(SIGCHLD));
    make_pipe(&p);
    i64 pid = fork();
    if (pid == 0) {
        mask(SIG_SETMASK, 0);
        while (awaits(p.read))
            ;
    }
    syscall(SYS_setpgid, pid, 0);               /* a group that nobody outside could wake would ignore SIGTSTP */
#define EVENT(signal, option) ({ i32 status; \
        syscall(SYS_kill, pid, signal); \
        CALL(SYS_rt_sigsuspend, &all_but, 8); \
        CHECK(seen.pid == pid); \
        print("signo %d code %d status %d\n", seen.signo, seen.code, seen.status); \
        CHECK(syscall(SYS_wait4, pid, &status, option, NULL) == pid); \
        show_status("it", status); })
    EVENT(SIGSTOP, WUNTRACED);
    CALL(SYS_wait4, pid, NULL, WUNTRACED | WNOHANG, NULL);
    EVENT(SIGCONT, WCONTINUED);
    CALL(SYS_wait4, pid, NULL, WCONTINUED | WNOHANG, NULL);
    syscall(SYS_kill, pid, SIGSTOP);
    CALL(SYS_rt_sigsuspend, &all_but, 8);
    syscall(SYS_kill, pid, SIGTERM);            /* what is stopped dies when it goes on, or at once by SIGKILL */
    struct siginfo info;
    CALL(SYS_waitid, P_PID, pid, &info, WEXITED | WNOHANG, NULL);
    CHECK(info.pid == 0);
    EVENT(SIGKILL, 0);
    if ((pid = fork()) == 0)
        quit(7);
    CALL(SYS_rt_sigsuspend, &all_but, 8);
    print("signo %d code %d status %d\n", seen.signo, seen.code, seen.status);
    reap("it", pid);

    handle(SIGCHLD, (void *)on_info, SA_SIGINFO | SA_NOCLDSTOP, 0);
    if ((pid = fork()) == 0) {
        struct timespec t = {0, 20000000};
        CALL(SYS_nanosleep, &t, NULL);          /* stops and goes on in the midst of it */
        quit(3);
    }
    i32 status;
    u64 pending = 0;
    syscall(SYS_kill, pid, SIGSTOP);
    CHECK(syscall(SYS_wait4, pid, &status, WUNTRACED, NULL) == pid);
    show_status("it", status);
    CALL(SYS_rt_sigpending, &pending, 8);
    print("pending %lx\n", pending);
    syscall(SYS_kill, pid, SIGCONT);
    reap("it", pid);
    CALL(SYS_rt_sigpending, &pending, 8);
    print("pending %lx\n", pending);
    handle(SIGCHLD, SIG_DFL, 0, 0);
    mask(SIG_SETMASK, 0);

    if ((pid = fork()) == 0) {                  /* pending stops and continuations cancel each other */
        handle(SIGCONT, (void *)on_signal, 0, 0);
        mask(SIG_SETMASK, BIT(SIGCONT) | BIT(SIGTSTP));
        to_me(SIGTSTP);
        CALL(SYS_rt_sigpending, &pending, 8);
        print("pending %lx\n", pending);
        to_me(SIGCONT);
        CALL(SYS_rt_sigpending, &pending, 8);
        print("pending %lx\n", pending);
        count = 0;
        mask(SIG_SETMASK, 0);
        show_order("handled");
        quit(0);
    }
    reap("it", pid);
}

static void on_alarm(i32 signal) {
    on_signal(signal);
    if (depth)
        passes(p.write);
}

static void timers(void) {
    struct itimer t = {{0, 3000}, {0, 3000}}, once = {{0, 0}, {0, 2000}}, off = {{0, 0}, {0, 0}}, old, wrong = {{0, 0}, {0, 1000000}};
    struct timespec long_time = {10, 0}, left;
    u64 empty = 0;

    print("-- interruption\n");
    make_pipe(&p);
    count = 0, depth = 0;
    handle(SIGALRM, (void *)on_alarm, 0, 0);
    CALL(SYS_setitimer, 0, &t, NULL);           /* again and again, should the first come too early */
    CALL(SYS_read, p.read, buffer, 1);
    CALL(SYS_pause);
    CALL(SYS_nanosleep, &long_time, &left);
    CHECK(left.s == 9 || left.s == 10);         /* what is left counts the slack of the timer, too */
    CALL(SYS_wait4, -1, NULL, 0, NULL);
    CALL(SYS_poll, NULL, 0, -1);
    u32 word = 0;
    CALL(SYS_futex, &word, 128, 0, NULL);
    i32 status;
    i64 pid = fork();
    if (pid == 0)
        for (;;)
            syscall(SYS_pause);
    CALL(SYS_wait4, -1, &status, 0, NULL);
    CHECK(handled == SIGALRM);
    handle(SIGALRM, (void *)on_alarm, SA_RESTART, 0);
    CALL(SYS_pause);                            /* these are interrupted even so */
    CALL(SYS_nanosleep, &long_time, NULL);
    CALL(SYS_poll, NULL, 0, -1);
    CALL(SYS_rt_sigsuspend, &empty, 8);
    syscall(SYS_setitimer, 0, &off, NULL);
    syscall(SYS_kill, pid, SIGKILL);
    reap("child", pid);
    depth = 1;
    syscall(SYS_setitimer, 0, &once, NULL);
    CALL(SYS_read, p.read, buffer, 1);          /* and this goes on: the handler gives it a byte */
    mask(SIG_BLOCK, BIT(SIGALRM));
    handle(SIGALRM, SIG_DFL, 0, 0);

    print("-- timers\n");
    CALL(SYS_setitimer, 0, &off, &old);
    CALL(SYS_setitimer, 0, &wrong, NULL);
    CALL(SYS_setitimer, 9, &off, NULL);
    CALL(SYS_alarm, 50);
    CHECK(syscall(SYS_alarm, 20) == 50);
    CALL(SYS_setitimer, 0, &off, &old);
    CHECK(old.value[0] == 19 && old.value[1] > 0 && old.every[0] == 0);
    CALL(SYS_alarm, 0);
    CALL(SYS_setitimer, 0, &t, NULL);
    for (i32 i = 0; i < 3; i++) {
        u64 set = BIT(SIGALRM);
        struct siginfo info;
        CALL(SYS_rt_sigtimedwait, &set, &info, NULL, 8);
        CHECK(info.code == 0x80);
    }
    CALL(SYS_setitimer, 0, &off, NULL);
    handle(SIGALRM, SIG_IGN, 0, 0);             /* another may be pending by now */
    mask(SIG_SETMASK, 0);
    count = 0;
    handle(SIGVTALRM, (void *)on_signal, 0, 0);
    handle(SIGPROF, (void *)on_signal, 0, 0);
    syscall(SYS_setitimer, 1, &once, NULL);     /* of the time that the process itself takes */
    while (count == 0)
        ;
    syscall(SYS_setitimer, 2, &once, NULL);
    while (count == 1)
        ;
    show_order("virtual, profile");
}

static void groups(void) {
    print("-- groups\n");
    make_pipe(&p), make_pipe(&q);
    i64 first = 0;
    for (i32 i = 0; i < 3; i++) {
        i64 pid = fork();
        if (pid == 0) {
            syscall(SYS_setpgid, 0, first);
            passes(q.write);
            awaits(p.read);
            quit(i);
        }
        first = first ? first : pid;
        awaits(q.read);
    }
    CALL(SYS_kill, -first, 0);
    CALL(SYS_kill, -first, SIGTERM);
    for (i32 i = 0; i < 3; i++)
        reap("member", -1);
    CALL(SYS_kill, -first, SIGTERM);
    if (fork() == 0) {
        syscall(SYS_setpgid, 0, 0);
        syscall(SYS_kill, 0, SIGUSR2);
        quit(0);
    }
    reap("its own group", -1);
}

int main(int argc, char **argv) {
    (void)argc, (void)argv;
    apart();
    actions();
    masks();
    nested();
    waits();
    children();
    timers();
    handle(SIGUSR2, SIG_DFL, 0, 0);
    groups();
    return 42;
}
