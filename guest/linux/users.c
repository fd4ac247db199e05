/* Who may do what to whom, for users who are not root; and what each may have of all. */
#include "linux.h"

#define USER 54321
#define OTHER 54322
#define CPU 0
#define NPROC 6
#define NOFILE 7
#define AS 9
#define PRIO_PROCESS 0
#define PRIO_USER 2
#define EAGAIN (-11)

static struct pipe p;
static char buffer[PAGE], path[100];

static void becomes(u32 uid) {
    syscall(SYS_setresgid, uid, uid, uid);
    syscall(SYS_setresuid, uid, uid, uid);
}

/* Whoever changes its user is nobody's to look into, until it says otherwise. */
static void shows_itself(void) { syscall(SYS_prctl, PR_SET_DUMPABLE, 1); }

/* A child that waits, as that user. */
static i64 sleeper_shown(u32 uid, i32 shown) {
    struct pipe ready;

    make_pipe(&ready);
    i64 pid = fork();
    if (pid == 0) {
        becomes(uid);
        if (shown)
            shows_itself();
        passes(ready.write);
        for (;;)
            syscall(SYS_pause);
    }
    awaits(ready.read);
    closes(ready.read), closes(ready.write);
    return pid;
}

static i64 sleeper(u32 uid) { return sleeper_shown(uid, 1); }

static void ends(i64 pid) {
    syscall(SYS_kill, pid, SIGKILL);
    syscall(SYS_wait4, pid, NULL, 0, NULL);
}

static void children(void) {
    u64 limit[2] = {2, 2};
    i64 pid, next;

    print("-- children\n");
    if (fork() == 0) {
        CALL(SYS_setrlimit, NPROC, limit);
        if ((pid = fork()) == 0)                /* no limit for root */
            quit(0);
        reap("of root", pid);
        becomes(USER);
        make_pipe(&p);
        if ((pid = fork()) == 0)
            quit(awaits(p.read));
        CHECK(pid > 0);
        if ((next = fork()) == 0)
            quit(0);
        CHECK(next == EAGAIN);
        passes(p.write);
        struct siginfo info;
        CALL(SYS_waitid, P_PID, pid, &info, WEXITED | WNOWAIT, NULL);
        if ((next = fork()) == 0)               /* a zombie counts */
            quit(0);
        CHECK(next == EAGAIN);
        reap("child", pid);
        if ((pid = fork()) == 0)
            quit(3);
        reap("child", pid);
        quit(0);
    }
    reap("user", -1);
}

static void zombies(void) {
    i64 pid, first = 0, count = 0;
    u64 limit[2] = {20, 20};

    print("-- zombies\n");
    if (fork() == 0) {
        becomes(USER);
        syscall(SYS_setrlimit, NPROC, limit);
        while ((pid = fork()) > 0)
            first = first ? first : pid, count++;
        if (pid == 0)
            quit(0);
        print("%ld children, then %ld\n", count, pid);
        while (syscall(SYS_wait4, -1, NULL, 0, NULL) > 0)
            count--;
        print("%ld are left\n", count);
        quit(0);
    }
    reap("parent of zombies", -1);
}

/* Address space; what was mapped stays. */
static void space(void) {
    u64 limit[2] = {64 << 20, 64 << 20}, small[2] = {1 << 20, 64 << 20};

    print("-- space\n");
    if (fork() == 0) {
        CALL(SYS_setrlimit, AS, limit);
        char *m = (char *)syscall(SYS_mmap, NULL, 32 << 20, R_W, PRIVATE_ANONYMOUS, -1, 0);
        CHECK((i64)m > 0);
        CALL(SYS_mmap, NULL, 40 << 20, R_W, PRIVATE_ANONYMOUS, -1, 0);
        CALL(SYS_mmap, NULL, 40 << 20, PROT_NONE, PRIVATE_ANONYMOUS, -1, 0);
        CALL(SYS_mremap, m, 32 << 20, 80 << 20, 1);
        CHECK(syscall(SYS_mmap, m, 32 << 20, R_W, PRIVATE_ANONYMOUS | FIXED, -1, 0) == (i64)m);
        u64 end = (u64)syscall(SYS_brk, 0);
        CHECK((u64)syscall(SYS_brk, end + (60 << 20)) == end);
        CHECK((u64)syscall(SYS_brk, end + (1 << 20)) == end + (1 << 20));
        CALL(SYS_setrlimit, AS, small);
        m[5] = 1;
        CALL(SYS_mmap, NULL, PAGE, R_W, PRIVATE_ANONYMOUS, -1, 0);
        CALL(SYS_munmap, m, 32 << 20);
        quit(0);
    }
    reap("child", -1);
}

static volatile i32 warned;
static void on_warning(i32 signal) { warned += signal == SIGXCPU; }

/* With a soft limit of no time at all it hears of it at once, and with a hard one it ends. */
static void running(void) {
    u64 limit[2] = {0, 100}, now[2];

    print("-- running\n");
    for (i32 i = 0; i < 3; i++) {
        if (fork() == 0) {
            if (i)
                handle(SIGXCPU, (void *)on_warning, 0, 0);
            limit[1] = i < 2 ? 100 : 0;
            syscall(SYS_setrlimit, CPU, limit);
            while (!warned)
                ;
            syscall(SYS_getrlimit, CPU, now);
            CHECK(now[0] > 0 && now[1] == 100);
            quit(0);
        }
        reap(i == 0 ? "no handler" : i == 1 ? "a handler" : "no time", -1);
    }
}

static void limits_of_others(void) {
    u64 old[2], new[2] = {10, 10};
    i64 of_root = sleeper(0), own = sleeper(USER), other = sleeper(OTHER);

    print("-- limits of others\n");
    if (fork() == 0) {
        becomes(USER);
        CALL(SYS_prlimit64, of_root, NOFILE, NULL, old);
        CALL(SYS_prlimit64, other, NOFILE, NULL, old);
        CALL(SYS_prlimit64, other, 99, NULL, old);
        CALL(SYS_prlimit64, own, NOFILE, new, old);
        CALL(SYS_prlimit64, own, 99, NULL, old);
        new[1] = 11;
        CALL(SYS_prlimit64, own, NOFILE, new, old);
        CALL(SYS_prlimit64, own, NOFILE, NULL, old);
        print("%lu %lu\n", old[0], old[1]);
        quit(0);
    }
    reap("user", -1);
    ends(of_root), ends(own), ends(other);
}

static void priorities(void) {
    i64 of_root = sleeper(0), own = sleeper(USER), other = sleeper(OTHER);

    print("-- priorities\n");
    CALL(SYS_setpriority, PRIO_USER, 54329, 3);
    CALL(SYS_getpriority, PRIO_USER, 54329);
    CALL(SYS_setpriority, PRIO_USER, OTHER, 3);
    CALL(SYS_getpriority, PRIO_PROCESS, other);
    CALL(SYS_getpriority, PRIO_USER, OTHER);
    CALL(SYS_getpriority, PRIO_PROCESS, own);
    if (fork() == 0) {
        u64 none[2] = {0, 0};
        syscall(SYS_setrlimit, 13, none);
        becomes(USER);
        CALL(SYS_setpriority, PRIO_PROCESS, of_root, 5);
        CALL(SYS_setpriority, PRIO_PROCESS, other, 5);
        CALL(SYS_setpriority, PRIO_USER, OTHER, 5);
        CALL(SYS_setpriority, PRIO_PROCESS, own, 5);
        CALL(SYS_setpriority, PRIO_PROCESS, own, 4);
        CALL(SYS_setpriority, PRIO_USER, 0, 7);
        CALL(SYS_getpriority, PRIO_USER, 0);
        CALL(SYS_getpriority, PRIO_PROCESS, own);
        CALL(SYS_getpriority, PRIO_PROCESS, other);
        CALL(SYS_ioprio_set, 1, of_root, 2 << 13 | 6);
        CALL(SYS_ioprio_set, 1, own, 2 << 13 | 6);
        CALL(SYS_ioprio_set, 3, OTHER, 2 << 13 | 6);
        CALL(SYS_ioprio_set, 3, USER, 2 << 13 | 5);
        CALL(SYS_ioprio_get, 1, own);
        CALL(SYS_ioprio_set, 1, 0, 1 << 13);
        quit(0);
    }
    reap("user", -1);
    ends(of_root), ends(own), ends(other);
}

static char *of(i64 pid, const char *file) {
    memcpy(path, "/proc/", 6);
    decimal(path + 6, (u64)pid);
    memcpy(path + strlen(path), file, strlen(file) + 1);
    return path;
}

static void owner(const char *what, const char *name) {
    struct stat s;

    syscall(SYS_lstat, name, &s);
    print("%s: mode %x, of %u, %u\n", what, s.mode, s.uid, s.gid);
}

static void opens(const char *what, const char *name, i32 flags) {
    i64 fd = syscall(SYS_open, name, flags, 0);

    print("%s: %ld\n", what, fd < 0 ? fd : 0);
    closes(fd);
}

static void looks_at(i64 pid) {
    opens("fd", of(pid, "/fd"), O_RDONLY | O_DIRECTORY);
    opens("fd/0", of(pid, "/fd/0"), O_RDONLY);
    opens("exe", of(pid, "/exe"), O_RDONLY);
    opens("cwd", of(pid, "/cwd"), O_RDONLY);
    opens("root", of(pid, "/root/"), O_RDONLY);
    opens("environ", of(pid, "/environ"), O_RDONLY);
    opens("stat", of(pid, "/stat"), O_RDONLY);
    print("link %ld\n", (i64)(syscall(SYS_readlink, of(pid, "/cwd"), buffer, 100) > 0));
    print("error %ld\n", syscall(SYS_readlink, of(pid, "/cwd"), buffer, 100) > 0 ? 0 : syscall(SYS_readlink, of(pid, "/exe"), buffer, 100));
}

static void in_proc(void) {
    i64 of_root = sleeper(0), own = sleeper(USER), other = sleeper(OTHER), hidden = sleeper_shown(USER, 0);

    print("-- in /proc\n");
    syscall(SYS_chmod, ".", 0755);
    owner("directory", of(own, ""));
    owner("fd", of(own, "/fd"));
    owner("fd/0", of(own, "/fd/0"));
    owner("stat", of(own, "/stat"));
    if (fork() == 0) {
        owner("before", "/proc/self/stat");
        becomes(USER);
        owner("after", "/proc/self/stat");
        owner("directory", "/proc/self/");
        opens("hidden fd", "/proc/self/fd", O_RDONLY | O_DIRECTORY);
        opens("hidden fd/0", "/proc/self/fd/0", O_RDONLY);
        opens("hidden exe", "/proc/self/exe", O_RDONLY);
        opens("hidden environ", "/proc/self/environ", O_RDONLY);
        CALL(SYS_prctl, PR_GET_DUMPABLE);
        shows_itself();
        owner("shown", "/proc/self/stat");
        looks_at(of_root);
        looks_at(other);
        looks_at(own);
        looks_at(hidden);
        opens("own fd", "/proc/self/fd", O_RDONLY | O_DIRECTORY);
        opens("own fd/0", "/proc/self/fd/0", O_RDONLY);
        quit(0);
    }
    reap("user", -1);
    looks_at(other);
    ends(of_root), ends(own), ends(other), ends(hidden);
}

int main(int argc, char **argv) {
    (void)argc, (void)argv;
    apart();
    i64 null = syscall(SYS_open, "/dev/null", O_RDWR, 0);
    syscall(SYS_dup2, null, 0);
    closes(null);
    children();
    zombies();
    space();
    running();
    limits_of_others();
    priorities();
    in_proc();
    return 42;
}
