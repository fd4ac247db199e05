/* Sessions and process groups, without a terminal. */
#include "linux.h"

static struct pipe up, down;

static i64 me(void) { return syscall(SYS_getpid); }
static i64 group(i64 pid) { return syscall(SYS_getpgid, pid); }
static i64 session(i64 pid) { return syscall(SYS_getsid, pid); }

/* A child that waits to be let go. */
static i64 waiter(void) {
    i64 pid = fork();

    if (pid == 0) {
        awaits(down.read);
        quit(0);
    }
    return pid;
}

static void queries(void) {
    print("-- queries\n");
    CHECK(group(0) == syscall(SYS_getpgrp) && group(me()) == group(0));
    CHECK(session(0) == session(me()) && session(0) >= 0);
    RESULT(group(0x3fffffff));
    RESULT(session(0x3fffffff));
    RESULT(group(-1));
    RESULT(session(-1));
    CHECK(group(0) != me() && session(0) != me());      /* we are a child, of the one that was started */
    CALL(SYS_kill, -0x3fffffff, 0);
    CALL(SYS_kill, -0x3fffffff, SIGTERM);
    CALL(SYS_setpgid, 0x3fffffff, 0);
    CALL(SYS_setpgid, 0, 0x3fffffff);
    CALL(SYS_setpgid, 0, -1);
    CALL(SYS_setpgid, -1, 0);
}

static void sessions(void) {
    i64 old_group = group(0), old_session = session(0);

    print("-- sessions\n");
    CHECK(syscall(SYS_setsid) == me());
    CHECK(group(0) == me() && session(0) == me() && old_group != me() && old_session != me());
    CALL(SYS_setsid);                           /* one that leads a group cannot leave it */
    CALL(SYS_setpgid, 0, 0);
    CALL(SYS_setpgid, 0, old_group);
    i64 fd = CALL(SYS_open, "/dev/tty", O_RDWR, 0);
    closes(fd);
    if (fork() == 0) {
        CHECK(group(0) == syscall(SYS_getppid) && session(0) == syscall(SYS_getppid));
        CALL(SYS_setpgid, 0, 0);
        CHECK(group(0) == me() && session(0) == syscall(SYS_getppid));
        CALL(SYS_setsid);
        CALL(SYS_setpgid, 0, syscall(SYS_getppid));
        CHECK(group(0) == syscall(SYS_getppid));
        CHECK(syscall(SYS_setsid) == me());
        CHECK(session(syscall(SYS_getppid)) == syscall(SYS_getppid));
        CALL(SYS_setpgid, 0, syscall(SYS_getppid));
        CALL(SYS_setpgid, syscall(SYS_getppid), 0);
        quit(0);
    }
    reap("child", -1);
}

static void groups(void) {
    i32 status;

    print("-- groups\n");
    make_pipe(&down), make_pipe(&up);
    i64 a = waiter(), b = waiter(), c = waiter();
    RESULT(syscall(SYS_setpgid, a, a));
    RESULT(syscall(SYS_setpgid, b, a));
    RESULT(syscall(SYS_setpgid, c, b));         /* b leads none */
    CHECK(group(a) == a && group(b) == a && group(c) == group(0));
    CHECK(session(a) == session(0));
    RESULT(syscall(SYS_wait4, -a, &status, WNOHANG, NULL));
    RESULT(syscall(SYS_wait4, -b, &status, WNOHANG, NULL));
    RESULT(syscall(SYS_kill, -a, SIGTERM));
    for (i32 i = 0; i < 2; i++) {
        CHECK(syscall(SYS_wait4, -a, &status, 0, NULL) > 0);
        show_status("of the group", status);
    }
    RESULT(syscall(SYS_wait4, -a, &status, 0, NULL));
    RESULT(syscall(SYS_kill, -a, SIGTERM));
    RESULT(syscall(SYS_setpgid, c, a));         /* the group is gone */
    RESULT(syscall(SYS_wait4, 0, &status, WNOHANG, NULL));
    passes(down.write);
    reap("the third", c);
    RESULT(syscall(SYS_setpgid, c, c));

    /* a group lives as long as any member, even without its leader */
    a = waiter();
    syscall(SYS_setpgid, a, a);
    b = waiter();
    syscall(SYS_setpgid, b, a);
    RESULT(syscall(SYS_kill, a, SIGKILL));
    reap("leader", a);
    RESULT(syscall(SYS_kill, -a, 0));
    c = waiter();
    RESULT(syscall(SYS_setpgid, c, a));
    CHECK(group(b) == a && group(c) == a);
    RESULT(syscall(SYS_kill, -a, SIGKILL));
    reap("member", b), reap("member", c);

    /* what another program has become, its parent leaves where it is */
    static char *args[] = {"name", "waits", NULL}, *none[] = {NULL};
    char fds[24];
    args[1] = decimal(fds, (u64)down.read);
    struct pipe ran;
    syscall(SYS_pipe2, &ran, O_CLOEXEC);
    if ((a = fork()) == 0)
        syscall(SYS_execve, "/proc/self/exe", args, none);
    closes(ran.write);
    awaits(ran.read);                           /* its end is closed when it has become that */
    RESULT(syscall(SYS_setpgid, a, a));
    passes(down.write);
    reap("other program", a);

    /* a whole group, with us in it */
    if (fork() == 0) {
        syscall(SYS_setpgid, 0, 0);
        for (i32 i = 0; i < 3; i++)
            waiter();
        handle(SIGUSR1, SIG_IGN, 0, 0);
        RESULT(syscall(SYS_kill, 0, SIGUSR1));
        handle(SIGUSR1, SIG_DFL, 0, 0);
        i32 killed = 0;
        for (i32 i = 0; i < 3; i++)
            killed += syscall(SYS_wait4, -1, &status, 0, NULL) > 0 && status == SIGUSR1;
        print("killed %d\n", killed);
        quit(0);
    }
    reap("group", -1);
}

/* Stops from a terminal's side mean nothing to a group that nobody could wake. */
static void stops(void) {
    static const i32 signals[] = {SIGTSTP, SIGTTIN, SIGTTOU};
    i32 status;
    i64 pid;

    print("-- stops\n");
    for (u64 i = 0; i < COUNT(signals); i++) {
        if ((pid = fork()) == 0) {              /* in a group of its own, with a parent in the session: it stops */
            syscall(SYS_setpgid, 0, 0);
            syscall(SYS_kill, me(), signals[i]);
            quit(3);
        }
        CHECK(syscall(SYS_wait4, pid, &status, WUNTRACED, NULL) == pid);
        show_status("in sight", status);
        syscall(SYS_kill, -pid, SIGCONT);
        reap("then", pid);
        if ((pid = fork()) == 0) {              /* in a session of its own: it does not */
            syscall(SYS_setsid);
            syscall(SYS_kill, me(), signals[i]);
            quit(4);
        }
        CHECK(syscall(SYS_wait4, pid, &status, WUNTRACED, NULL) == pid);
        show_status("alone", status);
    }
    /* a stopped group that becomes an orphan is hung up and continued */
    syscall(SYS_prctl, PR_SET_CHILD_SUBREAPER, 1);
    if ((pid = fork()) == 0) {
        syscall(SYS_setsid);
        i64 inner = fork();
        if (inner == 0) {
            syscall(SYS_setpgid, 0, 0);
            for (;;)
                syscall(SYS_kill, me(), SIGSTOP);
        }
        syscall(SYS_wait4, inner, &status, WUNTRACED, NULL);
        show_status("inner", status);
        quit(5);
    }
    reap("outer", pid);
    reap("orphan", -1);
}

int main(int argc, char **argv) {
    if (argc > 1)
        return awaits((i32)number(argv[1])) + 10;
    apart();
    queries();
    sessions();
    groups();
    stops();
    return 42;
}
