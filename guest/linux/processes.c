/* Processes: making them, what they share, how they end, waiting for them, and
 * becoming another program. */
#include "linux.h"

#define SELF "/proc/self/exe"

static char buffer[PAGE];
static volatile i32 datum = 1;
static i32 data_pages[4 * 1024];                /* several pages, some not touched before the fork */
static struct pipe there, back;

/* Each side changes what both had; neither may see the other's change. */
static void copies(void) {
    volatile i32 local = 10;
    volatile char *heap = (char *)syscall(SYS_mmap, NULL, 4 * PAGE, R_W, PRIVATE_ANONYMOUS, -1, 0);
    volatile i32 *shared = (i32 *)syscall(SYS_mmap, NULL, PAGE, R_W, SHARED_ANONYMOUS, -1, 0);

    print("-- copies\n");
    heap[0] = 'p', data_pages[0] = 5;
    make_pipe(&there), make_pipe(&back);
    if (fork() == 0) {
        awaits(there.read);
        CHECK(datum == 1 && local == 10 && heap[0] == 'p' && heap[PAGE] == 0 && data_pages[0] == 5 && data_pages[2048] == 0);
        datum = 3, local = 30, heap[0] = 'c', heap[2 * PAGE] = 'd', data_pages[3000] = 7, *shared = 77;
        passes(back.write);
        awaits(there.read);
        CHECK(datum == 3 && local == 30 && heap[0] == 'c' && data_pages[3000] == 7 && *shared == 78);
        quit(0);
    }
    datum = 2, local = 20, heap[0] = 'q', heap[PAGE] = 'r', data_pages[2048] = 6;
    passes(there.write);
    awaits(back.read);
    CHECK(datum == 2 && local == 20 && heap[0] == 'q' && heap[2 * PAGE] == 0 && data_pages[3000] == 0 && *shared == 77);
    *shared = 78;
    passes(there.write);
    reap("child", -1);

    /* grandchildren share the pages three ways; the system calls must see the copies too */
    text((char *)buffer, 0);
    for (i32 depth = 0; depth < 5; depth++) {
        i64 pid = fork();
        if (pid) {
            reap("generation", pid);
            print("%d has %s\n", depth, buffer[0] ? buffer : "nothing");
            if (depth)
                quit(depth);
            break;
        }
        i64 fd = syscall(SYS_open, "/dev/zero", O_RDONLY, 0);
        syscall(SYS_read, fd, buffer, 10);
        syscall(SYS_close, fd);
        memset(buffer, 'a' + depth, 3);
        if (depth == 4)
            quit(5);
    }
}

static void endings(void) {
    print("-- endings\n");
    for (i32 code = -1; code < 600; code += 130) {
        if (fork() == 0)
            quit(code);
        reap("exit_group", -1);
    }
    if (fork() == 0)
        syscall(SYS_exit, 7);
    reap("exit", -1);
    for (i32 s = 1; s <= 64; s++) {
        if (s >= SIGSTOP && s <= SIGTTOU)
            continue;
        i64 pid = fork();
        if (pid == 0) {
            syscall(SYS_kill, syscall(SYS_getpid), s);
            quit(0);
        }
        print("signal %d ", s);
        reap("", pid);
    }
    if (fork() == 0)
        *(volatile i32 *)16 = 1;
    reap("stray write", -1);
    if (fork() == 0)
        asm volatile("ud2");
    reap("no instruction", -1);
    if (fork() == 0)
        asm volatile("xor %%ecx, %%ecx; xor %%edx, %%edx; div %%ecx" ::: "eax", "ecx", "edx");
    reap("division by zero", -1);
    if (fork() == 0)
        asm volatile("hlt");
    reap("privileged", -1);
    if (fork() == 0)
        ((void (*)(void))8)();
    reap("stray jump", -1);
}

static void waiting(void) {
    struct siginfo info;
    i32 status = 0;

    print("-- waiting\n");
    CALL(SYS_wait4, -1, NULL, 0, NULL);
    CALL(SYS_wait4, 1, NULL, WNOHANG, NULL);
    CALL(SYS_wait4, -1, NULL, 0x100, NULL);
    CALL(SYS_waitid, P_ALL, 0, &info, WEXITED, NULL);
    CALL(SYS_waitid, P_ALL, 0, &info, 0, NULL);
    CALL(SYS_waitid, 9, 0, &info, WEXITED, NULL);
    make_pipe(&there);
    i64 pid = fork();
    if (pid == 0)
        quit(awaits(there.read) + 20);
    CALL(SYS_wait4, -1, &status, WNOHANG, NULL);
    CALL(SYS_wait4, pid, &status, WNOHANG, NULL);
    CALL(SYS_wait4, syscall(SYS_getpid), &status, WNOHANG, NULL);
    memset(&info, 1, sizeof info);
    CALL(SYS_waitid, P_PID, pid, &info, WEXITED | WNOHANG, NULL);
    CHECK(info.signo == 0 && info.pid == 0);
    passes(there.write);
    CALL(SYS_waitid, P_PID, pid, &info, WEXITED | WNOWAIT, NULL);
    print("signo %d code %d status %d\n", info.signo, info.code, info.status);
    CHECK(info.pid == pid && info.uid == 0 && info.error == 0);

    CALL(SYS_kill, pid, 0);                     /* a zombie is still there */
    CALL(SYS_kill, pid, SIGKILL);
    CHECK(syscall(SYS_getpgid, pid) == syscall(SYS_getpgrp));
    CALL(SYS_waitid, P_ALL, 0, &info, WSTOPPED | WNOHANG, NULL);
    CHECK(syscall(SYS_wait4, pid, &status, 0, NULL) == pid);
    show_status("then", status);
    CALL(SYS_kill, pid, 0);
    CALL(SYS_wait4, pid, &status, 0, NULL);

    if ((pid = fork()) == 0)
        quit(0);
    CHECK(syscall(SYS_wait4, -1, NULL, 0, NULL) == pid);
    if ((pid = fork()) == 0) {
        syscall(SYS_setpgid, 0, 0);
        passes(there.write);
        for (;;)
            syscall(SYS_pause);
    }
    awaits(there.read);
    CALL(SYS_wait4, 0, &status, WNOHANG, NULL); /* it left our group */
    CALL(SYS_wait4, -pid, &status, WNOHANG, NULL);
    CALL(SYS_kill, -pid, SIGTERM);
    CHECK(syscall(SYS_waitid, P_PGID, pid, &info, WEXITED, NULL) == 0 && info.pid == pid);
    print("code %d status %d\n", info.code, info.status);

    /* a child whose end sends no signal is found only by who asks for it */
    if ((pid = syscall(SYS_clone, 0, 0, 0, 0, 0)) == 0)
        quit(4);
    CALL(SYS_wait4, pid, &status, 0, NULL);
    CHECK(syscall(SYS_wait4, pid, &status, WALL, NULL) == pid);
    show_status("it", status);
    if ((pid = syscall(SYS_clone, SIGCHLD | CLONE_CHILD_SETTID | CLONE_PARENT_SETTID, 0, buffer, buffer + 8, 0)) == 0)
        quit(*(i32 *)(buffer + 8) == syscall(SYS_getpid) ? 1 : 2);
    CHECK(*(i32 *)buffer == pid && *(i32 *)(buffer + 8) != pid);
    reap("its number in its memory", pid);

    /* who ignores the end of children gets no zombies */
    handle(SIGCHLD, SIG_IGN, 0, 0);
    for (i32 i = 0; i < 3; i++)
        if (fork() == 0)
            quit(i);
    CALL(SYS_wait4, -1, &status, 0, NULL);
    handle(SIGCHLD, SIG_DFL, SA_NOCLDWAIT, 0);
    if (fork() == 0)
        quit(1);
    CALL(SYS_wait4, -1, &status, 0, NULL);
    handle(SIGCHLD, SIG_DFL, 0, 0);

    i32 sum = 0, count = 0;                     /* many at once, in any order */
    for (i32 i = 0; i < 40; i++)
        if (fork() == 0)
            quit(i);
    while (syscall(SYS_wait4, -1, &status, 0, NULL) > 0)
        sum += status >> 8, count++;
    print("%d children, sum %d\n", count, sum);
}

static void orphans(void) {
    i64 me = syscall(SYS_getpid), pid;
    i32 is = 0;

    print("-- orphans\n");
    CALL(SYS_prctl, PR_SET_CHILD_SUBREAPER, 1);
    CALL(SYS_prctl, PR_GET_CHILD_SUBREAPER, &is);
    CHECK(is == 1);
    make_pipe(&there);
    if ((pid = fork()) == 0) {
        i64 parent = syscall(SYS_getpid);
        if (fork() == 0) {
            CHECK(syscall(SYS_getppid) == parent);
            passes(back.write);
            awaits(there.read);                 /* by now the parent is gone */
            CHECK(syscall(SYS_getppid) == me);
            quit(8);
        }
        awaits(back.read);
        quit(3);
    }
    reap("child", pid);
    passes(there.write);
    CHECK(syscall(SYS_wait4, -1, &is, 0, NULL) != pid);
    show_status("grandchild", is);
    CALL(SYS_prctl, PR_SET_CHILD_SUBREAPER, 0);
}

static void borrowed(void) {
    static char *args[] = {"program", "quit", NULL}, *none[] = {NULL};
    volatile i32 local = 1;
    i64 pid;

    print("-- vfork\n");
    if ((pid = syscall(SYS_vfork)) == 0) {
        local = 2;                              /* in the parent's memory, while it waits */
        datum = 40;
        syscall(SYS_exit_group, 6);
    }
    CHECK(local == 2 && datum == 40);
    reap("exits", pid);
    if ((pid = syscall(SYS_vfork)) == 0) {
        datum = (i32)syscall(SYS_execve, "none", args, none);
        syscall(SYS_execve, SELF, args, none);
        syscall(SYS_exit_group, 6);
    }
    CHECK(datum == -2);
    reap("becomes another", pid);
    if ((pid = syscall(SYS_clone, CLONE_VM | CLONE_VFORK | SIGCHLD, 0, 0, 0, 0)) == 0) {
        datum = 41;
        syscall(SYS_kill, syscall(SYS_getpid), SIGKILL);
    }
    CHECK(datum == 41);
    reap("is killed", pid);
}

static void make_file(const char *name, const char *content, i32 mode) {
    i64 fd = syscall(SYS_open, name, O_WRONLY | O_CREAT | O_TRUNC, mode);

    syscall(SYS_write, fd, content, strlen(content));
    syscall(SYS_close, fd);
}

#define BECOME(path, args, env) ({ if (fork() == 0) { CALL(SYS_execve, path, args, env); quit(1); } reap("it", -1); })

static void programs(void) {
    static char *args[] = {"name", "show", "two words", "", "last", NULL}, *env[] = {"A=1", "B=", "C", NULL}, *none[] = {NULL};
    static char *signal_args[] = {"name", "signals", NULL}, *file_args[] = {"name", "files", NULL}, *stack_args[] = {"name", "stack", NULL};
    static char long_text[33 * PAGE], *many[128], *one[] = {"name", "long", long_text, NULL};

    print("-- programs\n");
    BECOME(SELF, args, env);
    BECOME(SELF, args, none);
    BECOME(SELF, args, NULL);
    BECOME(SELF, stack_args, env);
    make_file("data", "no program at all\n", 0644);
    make_file("garbage", "no program at all\n", 0755);
    make_file("empty", "", 0755);
    make_file("short", "\177ELF", 0755);
    make_file("script", "#! /proc/self/exe   show it  \nnever read\n", 0755);
    make_file("scriptless", "#!none\n", 0755);
    CALL(SYS_mkdir, "directory", 0755);
    BECOME("none", args, env);
    BECOME("", args, env);
    BECOME("none/x", args, env);
    BECOME("data/x", args, env);
    BECOME("data", args, env);
    BECOME("directory", args, env);
    BECOME("garbage", args, env);
    BECOME("empty", args, env);
    BECOME("short", args, env);
    BECOME("./script", args, env);
    BECOME("scriptless", args, env);
    BECOME(8, args, env);
    BECOME(SELF, 8, env);
    BECOME(SELF, args, 8);
    char *stray[] = {"name", (char *)8, NULL};
    BECOME(SELF, stray, env);
    memset(long_text, 'x', sizeof long_text);
    long_text[32 * PAGE] = 0;                   /* one byte too many */
    BECOME(SELF, one, env);
    long_text[32 * PAGE - 1] = 0;
    BECOME(SELF, one, env);
    for (u64 i = 0; i + 1 < COUNT(many); i++)
        many[i] = long_text;
    BECOME(SELF, many, env);

    /* what is open, handled, blocked and pending */
    i64 fd = syscall(SYS_open, "data", O_RDONLY, 0);
    syscall(SYS_dup2, fd, 20);
    syscall(SYS_dup3, fd, 21, O_CLOEXEC);
    syscall(SYS_dup2, fd, 22);
    syscall(SYS_fcntl, 22, F_SETFD, 1);
    syscall(SYS_lseek, 20, 3, 0);
    BECOME(SELF, file_args, none);
    CALL(SYS_fcntl, 21, F_GETFD, 0);
    if (fork() == 0) {
        handle(SIGUSR1, SIG_IGN, 0, 0);
        handle(SIGUSR2, (void *)make_file, SA_RESTART, BIT(SIGHUP));
        handle(SIGCHLD, SIG_IGN, 0, 0);
        mask(SIG_SETMASK, BIT(SIGTERM) | BIT(SIGHUP));
        syscall(SYS_kill, syscall(SYS_getpid), SIGTERM);
        syscall(SYS_execve, SELF, signal_args, none);
    }
    reap("signals", -1);
    handle(SIGCHLD, SIG_DFL, 0, 0);
    fd = syscall(SYS_open, SELF, O_RDONLY, 0);
    if (fork() == 0)
        CALL(SYS_execveat, fd, "", args, none, 0x1000);
    reap("execveat", -1);
}

static u64 auxiliary(const u64 *aux, u64 type) {
    while (*aux && *aux != type)
        aux += 2;
    return *aux ? aux[1] : 0;
}

/* What it is to be one of those programs. */
static i32 become(i32 argc, char **argv) {
    char **env = argv + argc + 1, name[16];

    if (strcmp(argv[1], "quit") == 0)
        return 9;
    if (strcmp(argv[1], "long") == 0)
        return strlen(argv[2]) == 32 * PAGE - 1;
    if (strcmp(argv[1], "signals") == 0) {
        struct action a;
        u64 pending = 0;
        for (i32 s = SIGUSR1; s <= SIGCHLD; s++) {
            syscall(SYS_rt_sigaction, s, NULL, &a, 8);
            if (s == SIGUSR1 || s == SIGUSR2 || s == SIGCHLD)
                print("%d: %s\n", s, a.handler == SIG_DFL ? "default" : a.handler == SIG_IGN ? "ignored" : "handled");
        }
        CALL(SYS_rt_sigpending, &pending, 8);
        print("pending %lx blocked %lx\n", pending, mask(SIG_BLOCK, 0));
        mask(SIG_SETMASK, 0);
        return 1;
    }
    if (strcmp(argv[1], "files") == 0) {
        for (i32 fd = 20; fd < 23; fd++)
            print("%d: %ld\n", fd, syscall(SYS_fcntl, fd, F_GETFD, 0));
        return (i32)syscall(SYS_lseek, 20, 0, 1);
    }
    if (strcmp(argv[1], "stack") == 0) {
        while (*env)
            env++;
        CHECK((u64)(argv - 1) % 16 == 0 && datum == 1);
        u64 *aux = (u64 *)env + 1;
        print("page %lu, header %lu, ticks %lu, user %lu, secure %lu\n", auxiliary(aux, 6), auxiliary(aux, 4), auxiliary(aux, 17),
              auxiliary(aux, 11), auxiliary(aux, 23));
        print("program %s\n", (char *)auxiliary(aux, AT_EXECFN));
        CHECK(auxiliary(aux, 3) && auxiliary(aux, 5) && auxiliary(aux, 9) && auxiliary(aux, 25));
        return 0;
    }
    print("%d arguments:", argc);
    for (i32 i = 0; i < argc; i++)
        print(" [%s]", argv[i]);
    print("\nenvironment:");
    for (; *env; env++)
        print(" [%s]", *env);
    syscall(SYS_prctl, PR_GET_NAME, name);
    const char *found = (const char *)auxiliary((u64 *)env + 1, AT_EXECFN);
    print("\nknown as %s, found as %s\n", found[1] == 'd' ? "either" : name, found);     /* Linux has changed its mind on /dev/fd/… */
    return 2;
}

int main(int argc, char **argv) {
    if (argc > 1)
        return become(argc, argv);
    apart();
    copies();
    endings();
    waiting();
    orphans();
    borrowed();
    programs();
    return 42;
}
