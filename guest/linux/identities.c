/* Who one is, and when one runs: users, groups, scheduling; memory that is to stay. */
#include "linux.h"

#define SYS_setgid 106
#define SYS_setreuid 113
#define SYS_setregid 114
#define SYS_getgroups 115
#define SYS_setgroups 116
#define SYS_getresgid 120
#define SYS_sched_setparam 142
#define SYS_sched_setscheduler 144
#define SYS_sched_get_priority_max 146
#define SYS_sched_get_priority_min 147
#define SYS_mlockall 151
#define SYS_munlockall 152
#define SYS_chroot 161

static void show_users(void) {
    u32 u[3], g[3];

    syscall(SYS_getresuid, &u[0], &u[1], &u[2]);
    syscall(SYS_getresgid, &g[0], &g[1], &g[2]);
    print("users %u %u %u, groups %u %u %u\n", u[0], u[1], u[2], g[0], g[1], g[2]);
}

/* Groups beside the one a process runs as: kept, inherited, and good for a file of theirs. */
static void beside(void) {
    u32 groups[40] = {70, 50, 60, 50}, kept[40];

    CALL(SYS_setgroups, 4, groups);
    CALL(SYS_setgroups, 2, 8);
    CALL(SYS_getgroups, 3, kept);
    CALL(SYS_getgroups, 0, kept);
    CALL(SYS_getgroups, 40, 8);
    CALL(SYS_getgroups, 40, kept);
    print("%u %u %u %u\n", kept[0], kept[1], kept[2], kept[3]);
    closes(syscall(SYS_creat, "theirs", 0640));
    closes(syscall(SYS_creat, "mine", 0600));
    CALL(SYS_chown, "theirs", 5, 60);
    CALL(SYS_chown, "mine", 1000, 1000);
    if (fork() == 0) {
        CALL(SYS_getgroups, 40, kept);
        CALL(SYS_setresgid, 1000, 1000, 1000);
        CALL(SYS_setresuid, 1000, 1000, 1000);
        CHECK(syscall(SYS_open, "theirs", O_RDONLY) >= 0);
        CALL(SYS_open, "theirs", O_RDWR);
        CALL(SYS_access, "theirs", 4);
        CALL(SYS_chown, "mine", -1, 70);                /* to a group of one's own */
        CALL(SYS_chown, "mine", -1, 71);
        CALL(SYS_setgroups, 1, groups);
        quit(0);
    }
    reap("one of the group", -1);
    CALL(SYS_setgroups, 0, NULL);
    if (fork() == 0) {
        CALL(SYS_setresuid, 1000, 1000, 1000);
        CALL(SYS_open, "theirs", O_RDONLY);
        quit(0);
    }
    reap("somebody else", -1);
}

static void users(void) {
    u32 one;

    print("-- users and groups\n");
    CALL(SYS_setgroups, 0, NULL);
    CALL(SYS_getgroups, 0, NULL);
    CALL(SYS_getgroups, -1, NULL);
    CALL(SYS_setgroups, 65537, NULL);
    CALL(SYS_getresgid, 8, &one, &one);
    beside();
    if (fork() == 0) {
        CALL(SYS_setgid, -1);
        CALL(SYS_setgid, 10);
        show_users();
        CALL(SYS_setregid, 11, 12);
        show_users();
        CALL(SYS_setregid, -1, 13);
        show_users();
        CALL(SYS_setreuid, 20, 21);                     /* not root any more; what was set last is saved */
        show_users();
        CALL(SYS_setregid, 99, -1);
        CALL(SYS_setregid, -1, 11);
        show_users();
        CALL(SYS_setgid, 13);
        CALL(SYS_setgid, 10);
        CALL(SYS_setreuid, 21, 20);
        show_users();
        CALL(SYS_setreuid, 22, -1);
        CALL(SYS_setreuid, -1, 0);
        CALL(SYS_setgroups, 0, NULL);
        CALL(SYS_chroot, ".");
        quit(0);
    }
    reap("child", -1);
    show_users();
}

static void schedules(void) {
    i32 priority = 7;

    print("-- schedules\n");
    for (i64 policy = 0; policy < 7; policy++) {
        CALL(SYS_sched_get_priority_max, policy);
        CALL(SYS_sched_get_priority_min, policy);
    }
    CALL(SYS_sched_get_priority_max, -1);
    CALL(SYS_sched_getparam, 0, &priority);
    print("%d\n", priority);
    CALL(SYS_sched_getparam, 0, NULL);
    CALL(SYS_sched_getparam, -1, &priority);
    CALL(SYS_sched_getparam, 0x3fffffff, &priority);
    CALL(SYS_sched_setparam, 0, &priority);
    priority = 5;
    CALL(SYS_sched_setparam, 0, &priority);
    CALL(SYS_sched_setparam, 0, NULL);
    CALL(SYS_sched_setscheduler, 0, 0, &priority);
    priority = 0;
    CALL(SYS_sched_setscheduler, 0, 0, &priority);
    CALL(SYS_sched_setscheduler, 0, 99, &priority);
    CALL(SYS_sched_setscheduler, 0, 1, &priority);      /* real time without a priority */
    CALL(SYS_sched_setscheduler, 0x3fffffff, 0, &priority);
    CALL(SYS_sched_getscheduler, 0);
}

static void locked(void) {
    print("-- memory that stays\n");
    CALL(SYS_mlockall, 0);
    CALL(SYS_mlockall, 8);
    CALL(SYS_mlockall, 4);
    CALL(SYS_mlockall, 2);
    CALL(SYS_munlockall);
}

static volatile i32 got, code, value;

static void on_signal(i32 signal, struct siginfo *info) { got = signal, code = info->code, value = (i32)info->value; }

static void queued(void) {
    struct siginfo info = {.signo = 99, .code = -1, .value = 1234};
    i64 me = syscall(SYS_getpid), thread = syscall(SYS_gettid);

    print("-- a signal with a value, to a thread\n");
    handle(SIGUSR1, on_signal, SA_SIGINFO, 0);
    CALL(SYS_rt_tgsigqueueinfo, me, thread, SIGUSR1, &info);
    print("signal %d, code %d, value %d\n", got, code, value);
    info.code = 1;                                      /* as the kernel's own: to oneself only */
    CALL(SYS_rt_tgsigqueueinfo, me, thread, SIGUSR1, &info);
    CALL(SYS_rt_tgsigqueueinfo, me, 0, SIGUSR1, &info);
    CALL(SYS_rt_tgsigqueueinfo, -1, thread, SIGUSR1, &info);
    CALL(SYS_rt_tgsigqueueinfo, me, thread, 65, &info);
    CALL(SYS_rt_tgsigqueueinfo, me, thread, SIGUSR1, 8);
    CALL(SYS_rt_tgsigqueueinfo, me, 0x3fffffff, SIGUSR1, &info);
    CALL(SYS_rt_tgsigqueueinfo, me, thread, 0, &info);
}

#define MIB (1UL << 20)
#define RUSAGE_CHILDREN (-1)

struct usage { i64 time[4], kib, rest[13]; };

static i64 most(i64 who) {
    struct usage usage = {.kib = 0};

    syscall(SYS_getrusage, who, &usage);
    return usage.kib;
}

static void touch(u64 size) {
    char *memory = (char *)syscall(SYS_mmap, 0, size, R_W, PRIVATE_ANONYMOUS, -1, 0);

    for (u64 at = 0; at < size; at += PAGE)
        memory[at] = 1;
    syscall(SYS_munmap, memory, size);
}

/* The most memory at once, in KiB: what went again counts, and of children the largest.  Linux counts in lots of pages,
 * one lot for each processor, so a few MiB may be missing. */
static void largest(void) {
    struct usage usage = {.kib = 0};
    i64 before = most(0);

    print("-- the most memory\n");
    touch(32 * MIB);
    touch(MIB);
    CHECK(most(0) - before > 24000 && most(0) - before < 42000);
    CHECK(most(RUSAGE_CHILDREN) < 24000);
    if (fork() == 0) {
        if (fork() == 0) {
            touch(64 * MIB);
            quit(0);
        }
        syscall(SYS_wait4, -1, NULL, 0, NULL);
        quit(0);
    }
    CHECK(syscall(SYS_wait4, -1, NULL, 0, &usage) > 0);
    CHECK(usage.kib > 56000 && usage.kib < 75000);
    CHECK(most(RUSAGE_CHILDREN) > 56000);
}

int main(int argc, char **argv) {
    (void)argc, (void)argv;
    apart();
    users();
    schedules();
    locked();
    queued();
    largest();
    return 42;
}
