/* Who ends while others depend on it: vfork's parents, orphans that are dead already, and what clone lets them share. */
#include "linux.h"

#define CLONE_PARENT 0x8000

#define CLONE_CLEAR_SIGHAND 0x100000000UL
#define CLONE_NEW_BIT 0x8000000000UL
#define EXITED_NOT_REAPED (WEXITED | WNOWAIT)

static struct pipe up, down;
static char stack[4 * PAGE];

static void on_signal(i32 signal) { (void)signal; }

static i64 clone3(u64 flags, u64 exit_signal) {
    u64 args[8] = {flags, 0, 0, 0, exit_signal};

    return syscall(SYS_clone3, args, sizeof args);
}

static void flags(void) {
    struct action one, two;

    print("-- flags\n");
    handle(SIGUSR1, (void *)on_signal, 0, 0), handle(SIGUSR2, SIG_IGN, 0, 0);
    if (clone3(CLONE_CLEAR_SIGHAND, SIGCHLD) == 0) {
        syscall(SYS_rt_sigaction, SIGUSR1, NULL, &one, 8);
        syscall(SYS_rt_sigaction, SIGUSR2, NULL, &two, 8);
        CHECK(one.handler == SIG_DFL && two.handler == SIG_IGN);
        quit(0);
    }
    reap("without handlers", -1);
    RESULT(clone3(CLONE_CLEAR_SIGHAND | CLONE_SIGHAND | CLONE_VM, SIGCHLD));
    RESULT(clone3(CLONE_NEW_BIT, SIGCHLD));
    i64 pid = syscall(SYS_clone, CLONE_FILES | SIGCHLD, 0, 0, 0, 0);
    if (pid == 0) {
        syscall(SYS_dup2, 1, 30);
        quit(0);
    }
    reap("one that shares its files", pid);
    CALL(SYS_fcntl, 30, F_GETFD, 0);
    closes(30);
    handle(SIGUSR1, SIG_DFL, 0, 0), handle(SIGUSR2, SIG_DFL, 0, 0);
}

struct flock { u16 type, whence; i32 pad; i64 start, length; i32 pid; };

/* A lock belongs to the table of files: it is there until the last one who has that ends. */
static void locks(void) {
    struct flock lock = {.type = 1, .length = 10}, seen;
    i64 fd, pid;

    print("-- locks\n");
    fd = syscall(SYS_open, "locked", O_RDWR | O_CREAT, 0644);
    pid = syscall(SYS_clone, CLONE_FILES | SIGCHLD, 0, 0, 0, 0);
    if (pid == 0) {
        CALL(SYS_fcntl, fd, F_SETLK, &lock);
        quit(0);
    }
    reap("one with the same files", pid);
    for (i32 i = 0; i < 2; i++) {
        if (fork() == 0) {
            seen = lock;
            CALL(SYS_fcntl, fd, F_GETLK, &seen);
            print("locked %d, by the one that has ended %d\n", seen.type != 2, seen.type != 2 && seen.pid == pid);
            CALL(SYS_fcntl, fd, F_SETLK, &lock);
            quit(0);
        }
        reap("another", -1);
        lock.type = 2;
        CALL(SYS_fcntl, fd, F_SETLK, &lock);
        lock.type = 1;
    }
    closes(fd);
}

/* Its child has its memory and does not let it go. */
static i64 borrow(void *unused) {
    (void)unused;
    if (syscall(SYS_vfork) == 0) {
        passes(up.write);
        awaits(down.read);
        syscall(SYS_exit_group, 5);
    }
    return 0;
}

static void waits_for_vfork(void) {
    char *args[] = {"families", "again", NULL}, *none[] = {NULL};
    i64 pid;

    print("-- vfork\n");
    make_pipe(&up), make_pipe(&down);
    static const i32 deadly[] = {SIGKILL, SIGUSR1};
    for (u64 i = 0; i < COUNT(deadly); i++) {
        if ((pid = fork()) == 0)
            quit((i32)borrow(NULL));
        awaits(up.read);
        syscall(SYS_kill, pid, SIGCHLD);
        syscall(SYS_kill, pid, deadly[i]);
        reap("parent", pid);
        passes(down.write);
        reap("child", -1);
    }
    if ((pid = fork()) == 0) {
        clone_call(CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM, stack + sizeof stack,
                   NULL, NULL, 0, borrow, NULL);
        awaits(up.read);
        syscall(SYS_execve, "/proc/self/exe", args, none);
    }
    reap("exec beside it", pid);
    passes(down.write);
    reap("child", -1);
}

/* Has a child that is dead, and ends without looking: `killed` by a signal, or by itself. */
static i64 leaves_zombie(i32 killed) {
    struct siginfo info;
    i64 child = fork();

    if (child == 0) {
        if (killed)
            syscall(SYS_kill, syscall(SYS_getpid), SIGTERM);
        quit(7);
    }
    syscall(SYS_waitid, P_PID, child, &info, EXITED_NOT_REAPED, NULL);
    return child;
}

static void orphans(void) {
    struct siginfo info;
    u64 set = BIT(SIGCHLD);
    i64 pid;
    i32 child;

    print("-- orphans\n");
    for (i32 killed = 0; killed < 2; killed++) {
        mask(SIG_BLOCK, set);
        if ((pid = fork()) == 0) {
            leaves_zombie(killed);
            quit(0);
        }
        syscall(SYS_rt_sigtimedwait, &set, &info, NULL, 8);
        print("the first is the %s: code %d status %d\n", info.pid == pid ? "child" : "orphan", info.code, info.status);
        reap("child", pid);
        reap("orphan", -1);
        mask(SIG_SETMASK, 0);
    }
    handle(SIGCHLD, SIG_IGN, 0, 0);
    if ((pid = fork()) == 0) {
        handle(SIGCHLD, SIG_DFL, 0, 0);
        child = (i32)leaves_zombie(0);
        syscall(SYS_write, up.write, &child, sizeof child);
        quit(0);
    }
    syscall(SYS_read, up.read, &child, sizeof child);
    CALL(SYS_wait4, -1, NULL, 0, NULL);
    CALL(SYS_kill, child, 0);
    handle(SIGCHLD, SIG_DFL, 0, 0);
}

static volatile i32 greeted;

static void greet(i32 signal) { greeted = signal; }

/* A signal that is there before its child has run at all: the handler comes first. */
static void newborn(void) {
    print("-- newborn\n");
    handle(SIGUSR1, (void *)greet, 0, 0);
    for (i32 i = 0; i < 3; i++) {
        i64 pid = fork();
        if (pid == 0) {
            while (!greeted)
                syscall(SYS_sched_yield);
            quit(greeted == SIGUSR1 ? 7 : 1);
        }
        CALL(SYS_kill, pid, SIGUSR1);
        reap("newborn", pid);
    }
    handle(SIGUSR1, SIG_DFL, 0, 0);
}

static volatile i32 heard;

static void on_brother(i32 signal) { heard += signal; }

/* A brother: its end is told to the parent of both as that of any child, whatever signal was asked for. */
static void brothers(void) {
    print("-- brothers\n");
    handle(SIGUSR1, on_brother, 0, 0);
    i64 pid = fork();
    if (pid == 0) {
        i64 brother = syscall(SYS_clone, CLONE_PARENT | SIGUSR1, 0, 0, 0, 0);
        if (brother == 0)
            quit(3);
        quit(brother > 0 ? 0 : 1);
    }
    i32 status, sum = 0;
    for (i32 i = 0; i < 2; i++)
        sum += syscall(SYS_wait4, -1, &status, 0, NULL) > 0 ? status >> 8 : 100;
    print("%d, signals %d\n", sum, heard);
    handle(SIGUSR1, SIG_DFL, 0, 0);
}

int main(int argc, char **argv) {
    (void)argv;
    if (argc > 1)
        return 9;
    apart();
    syscall(SYS_prctl, PR_SET_CHILD_SUBREAPER, 1);
    flags();
    locks();
    waits_for_vfork();
    orphans();
    newborn();
    brothers();
    return 42;
}
