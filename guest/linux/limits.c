/* Limits, names, clocks and the rest of what a process may ask about itself. */
#include "linux.h"

#define NOFILE 7
#define FSIZE 1
#define STACK 3
#define CORE 4
#define ABSOLUTE 1

static char buffer[PAGE];
static volatile i32 handled, count;

static void on_signal(i32 signal) { handled = signal, count++; }

static void limits(void) {
    u64 limit[2], old[2], wrong[2] = {10, 5};
    i64 fd, n = 0;

    print("-- limits\n");
    CALL(SYS_getrlimit, NOFILE, limit);
    CHECK(limit[0] >= 64 && limit[0] <= limit[1]);
    CALL(SYS_getrlimit, 99, limit);
    CALL(SYS_getrlimit, NOFILE, 8);
    CALL(SYS_prlimit64, 0, STACK, NULL, old);
    CHECK(old[0] >= 1 << 20);
    CALL(SYS_prlimit64, 0, NOFILE, wrong, NULL);
    CALL(SYS_prlimit64, 0x3fffffff, NOFILE, NULL, old);
    limit[0] = 10, limit[1] = 20;
    if (fork() == 0) {
        CALL(SYS_prlimit64, 0, NOFILE, limit, NULL);
        CALL(SYS_prlimit64, syscall(SYS_getpid), NOFILE, NULL, old);
        print("%lu %lu\n", old[0], old[1]);
        while ((fd = syscall(SYS_dup, 0)) >= 0)
            n = fd;
        print("last %ld, then %ld\n", n, fd);
        CALL(SYS_open, "file", O_RDWR | O_CREAT, 0644);
        CALL(SYS_pipe, buffer);
        CALL(SYS_fcntl, 0, F_DUPFD, 5);
        CALL(SYS_fcntl, 0, F_DUPFD, 10);
        CALL(SYS_dup2, 0, 10);
        CALL(SYS_dup2, 0, 9);
        CALL(SYS_close, 9);
        CALL(SYS_pipe, buffer);
        CALL(SYS_dup, 0);
        limit[0] = 20;
        CALL(SYS_setrlimit, NOFILE, limit);
        CALL(SYS_dup, 0);
        limit[0] = 3;                           /* what is open remains */
        CALL(SYS_setrlimit, NOFILE, limit);
        CALL(SYS_fcntl, 8, F_GETFD, 0);
        CALL(SYS_dup, 0);
        if (fork() == 0) {
            CALL(SYS_getrlimit, NOFILE, old);
            print("%lu %lu\n", old[0], old[1]);
            quit(0);
        }
        reap("grandchild", -1);
        quit(0);
    }
    reap("child", -1);
    limit[0] = limit[1] = 1000;
    for (i32 i = 0; i < 2; i++)
        if (fork() == 0) {
            handle(SIGXFSZ, i ? (void *)on_signal : SIG_DFL, 0, 0);
            syscall(SYS_setrlimit, FSIZE, limit);
            fd = syscall(SYS_open, "long", O_RDWR | O_CREAT | O_TRUNC, 0644);
            CALL(SYS_write, fd, buffer, 900);
            CALL(SYS_write, fd, buffer, 900);
            CALL(SYS_write, fd, buffer, 1);
            CHECK(handled == SIGXFSZ);
            CALL(SYS_ftruncate, fd, 1001);
            CALL(SYS_pwrite64, fd, buffer, 1, 999);
            print("%d\n", count);
            quit(0);
        } else {
            reap("too long a file", -1);
        }
    if (fork() == 0) {
        CALL(SYS_setpriority, 0, 0, 5);
        CALL(SYS_getpriority, 0, 0);
        CALL(SYS_ioprio_set, 1, 0, 2 << 13 | 6);
        CALL(SYS_ioprio_get, 1, 0);
        CALL(SYS_ioprio_set, 1, 0, 3 << 13);
        CALL(SYS_ioprio_get, 1, 0);
        CALL(SYS_ioprio_set, 1, 0, 1);
        CALL(SYS_ioprio_set, 1, 0, 4 << 13);
        CALL(SYS_ioprio_set, 0, 0, 0);
        CALL(SYS_ioprio_get, 4, 0);
        CALL(SYS_ioprio_get, 1, 99999);
        quit(0);
    }
    reap("child", -1);
}

static void names(void) {
    struct pipe p;
    i32 v = -1;
    i64 pid;

    print("-- names\n");
    CALL(SYS_prctl, PR_SET_NAME, "a name that is too long");
    CALL(SYS_prctl, PR_GET_NAME, buffer);
    print("%s\n", buffer);
    CALL(SYS_prctl, PR_SET_NAME, 8);
    CALL(SYS_prctl, PR_GET_DUMPABLE);
    CALL(SYS_prctl, PR_SET_DUMPABLE, 0);
    CALL(SYS_prctl, PR_GET_DUMPABLE);
    CALL(SYS_prctl, PR_SET_DUMPABLE, 1);
    CALL(SYS_prctl, PR_SET_DUMPABLE, 7);
    CALL(SYS_prctl, 99999, 0);
    CALL(SYS_prctl, PR_SET_PDEATHSIG, SIGUSR1);
    CALL(SYS_prctl, PR_GET_PDEATHSIG, &v);
    print("signal %d\n", v);
    CALL(SYS_prctl, PR_SET_PDEATHSIG, 65);
    CALL(SYS_prctl, PR_SET_PDEATHSIG, 0);
    make_pipe(&p);
    syscall(SYS_prctl, PR_SET_CHILD_SUBREAPER, 1);
    if ((pid = fork()) == 0) {
        CALL(SYS_prctl, PR_GET_NAME, buffer);   /* the child has the name, and would have no such signal */
        print("%s\n", buffer);
        if (fork() == 0) {
            syscall(SYS_prctl, PR_SET_PDEATHSIG, SIGUSR2);
            passes(p.write);
            for (;;)
                syscall(SYS_pause);
        }
        awaits(p.read);
        quit(0);
    }
    reap("parent", pid);
    reap("child, by its parent's death", -1);
    CALL(SYS_uname, buffer);
    CALL(SYS_personality, 0xffffffff);
    CALL(SYS_personality, PER_LINUX32);
    CALL(SYS_uname, buffer);
    print("%s\n", buffer + 4 * 65);
    CALL(SYS_personality, 0);
    CALL(SYS_personality, 0xffffffff);
    CHECK(strcmp(buffer, "Linux") == 0 && strcmp(buffer + 4 * 65, "x86_64") == 0);
    CHECK(buffer[2 * 65] >= '2' && buffer[2 * 65] <= '9');
    u32 ids[3] = {9, 9, 9};
    CALL(SYS_getuid);
    CALL(SYS_geteuid);
    CALL(SYS_getgid);
    CALL(SYS_getegid);
    CALL(SYS_getresuid, ids, ids + 1, ids + 2);
    print("%u %u %u\n", ids[0], ids[1], ids[2]);
    closes(p.read), closes(p.write);
}

static i64 between(struct timespec a, struct timespec b) {
    return (b.s - a.s) * 1000000000 + b.ns - a.ns;
}

static void clocks(void) {
    static const i32 all[] = {0, 1, 2, 3, 4, 5, 6, 7};
    struct timespec a, b, little = {0, 2000000}, wrong = {0, 1000000000}, past = {0, 0}, left = {7, 7};
    i64 day[2];

    print("-- clocks\n");
    for (u64 i = 0; i < COUNT(all); i++) {
        i64 r = syscall(SYS_clock_gettime, all[i], &a), s = syscall(SYS_clock_gettime, all[i], &b);
        print("clock %d: %ld %ld %s\n", all[i], r, s, between(a, b) >= 0 && a.ns >= 0 && a.ns < 1000000000 ? "on" : "back");
    }
    CALL(SYS_clock_gettime, 99, &a);
    CALL(SYS_clock_gettime, 1, 8);
    CALL(SYS_clock_getres, 1, &a);
    CHECK(a.s == 0 && a.ns > 0);
    CALL(SYS_clock_getres, 1, NULL);
    CALL(SYS_clock_getres, 99, &a);
    i32 back = 0;
    syscall(SYS_clock_gettime, 1, &a);
    for (i32 i = 0; i < 2000; i++, a = b) {
        syscall(SYS_clock_gettime, 1, &b);
        back += between(a, b) < 0;
    }
    print("%d steps back\n", back);
    CALL(SYS_gettimeofday, day, NULL);
    syscall(SYS_clock_gettime, 0, &a);
    CHECK(a.s - day[0] <= 1 && day[1] < 1000000 && a.s > 1600000000);
    CHECK(syscall(SYS_time, NULL) - a.s <= 1 && syscall(SYS_time, NULL) - a.s >= -1);
    CHECK(syscall(SYS_times, buffer) >= 0);

    syscall(SYS_clock_gettime, 1, &a);
    CALL(SYS_nanosleep, &little, &left);
    CALL(SYS_clock_nanosleep, 1, 0, &little, &left);
    CALL(SYS_clock_nanosleep, 0, 0, &little, NULL);
    syscall(SYS_clock_gettime, 1, &b);
    CHECK(between(a, b) >= 6000000 && left.s == 7);
    b = a;
    b.ns += 9000000;
    if (b.ns >= 1000000000)
        b.s++, b.ns -= 1000000000;
    CALL(SYS_clock_nanosleep, 1, ABSOLUTE, &b, NULL);
    struct timespec c;
    syscall(SYS_clock_gettime, 1, &c);
    CHECK(between(b, c) >= 0);
    CALL(SYS_clock_nanosleep, 1, ABSOLUTE, &past, NULL);
    CALL(SYS_clock_nanosleep, 0, ABSOLUTE, &past, NULL);
    CALL(SYS_clock_nanosleep, 1, 0, &past, NULL);
    CALL(SYS_clock_nanosleep, 1, 0, &wrong, NULL);
    CALL(SYS_clock_nanosleep, 99, 0, &little, NULL);
    CALL(SYS_clock_nanosleep, 3, 0, &little, NULL);
    CALL(SYS_nanosleep, 8, NULL);
    handle(SIGALRM, (void *)on_signal, 0, 0);
    struct itimer t = {{0, 2000}, {0, 2000}}, off = {{0, 0}, {0, 0}};
    struct timespec ten = {10, 0};
    syscall(SYS_setitimer, 0, &t, NULL);
    CALL(SYS_clock_nanosleep, 1, 0, &ten, &left);
    CHECK((left.s == 9 || left.s == 10) && handled == SIGALRM);
    left.s = 7, b.s += 100;
    CALL(SYS_clock_nanosleep, 1, ABSOLUTE, &b, &left);
    CHECK(left.s == 7);                         /* nothing is left of a time of day */
    syscall(SYS_setitimer, 0, &off, NULL);
    syscall(SYS_clock_gettime, 2, &a);
    nap(50);
    syscall(SYS_clock_gettime, 2, &b);
    CHECK(between(a, b) < 25000000);            /* who sleeps does not run */
    i64 usage[18];
    CALL(SYS_getrusage, 0, usage);
    CHECK(usage[0] >= 0 && usage[0] < 100 && usage[1] < 1000000);
    CALL(SYS_getrusage, -1, usage);
    CALL(SYS_getrusage, 5, usage);
}

static void others(void) {
    struct { i64 uptime; u64 loads[3], total, free, shared, buffers, swap, free_swap; u16 processes, pad; u64 high[2]; u32 unit; } s;
    u32 cpu = 999, node = 999;
    u64 base, processors[128] = {0};
    char a[64], b[64];
    i32 ones = 0;

    print("-- others\n");
    CALL(SYS_getrandom, a, 64, 0);
    CALL(SYS_getrandom, b, 64, 1);
    CHECK(!same(a, b, 64) && !same(a, a + 16, 16));
    CALL(SYS_getrandom, a, 0, 0);
    CALL(SYS_getrandom, a, 16, 128);
    CALL(SYS_getrandom, 8, 16, 0);
    syscall(SYS_getrandom, buffer, PAGE, 0);
    for (u64 i = 0; i < PAGE * 8; i++)
        ones += buffer[i / 8] >> i % 8 & 1;
    CHECK(ones > 15000 && ones < 17768);        /* fifteen deviations from half */
    CALL(SYS_sysinfo, &s);
    CHECK(s.uptime >= 0 && s.total > 0 && s.free > 0 && s.free <= s.total && s.processes > 0 && s.unit > 0);
    CALL(SYS_sysinfo, 8);
    CALL(SYS_getcpu, &cpu, &node, NULL);
    i64 n = syscall(SYS_sched_getaffinity, 0, sizeof processors, processors);
    CHECK(n > 0 && n % 8 == 0 && cpu < 8 * n && processors[cpu / 64] >> cpu % 64 & 1 && node < 1024);
    CALL(SYS_sched_getaffinity, 0, 1, processors);
    CALL(SYS_sched_getaffinity, 0x3fffffff, sizeof processors, processors);
    memset(processors, 0, sizeof processors);
    CALL(SYS_sched_setaffinity, 0, 8, processors);
    processors[cpu / 64] = 1UL << cpu % 64;
    CALL(SYS_sched_setaffinity, 0, 128, processors);
    CALL(SYS_sched_yield);
    CALL(SYS_sched_getscheduler, 0);
    CALL(SYS_arch_prctl, 0x1002, buffer);
    CALL(SYS_arch_prctl, 0x1003, &base);
    *(u64 *)buffer = 0x1234;
    u64 seen;
    asm volatile("mov %%fs:0, %0" : "=r"(seen));
    CHECK(base == (u64)buffer && seen == 0x1234);
    CALL(SYS_arch_prctl, 0x1001, buffer + 8);
    *(u64 *)(buffer + 8) = 0x5678;
    asm volatile("mov %%gs:0, %0" : "=r"(seen));
    CHECK(seen == 0x5678);
    CALL(SYS_arch_prctl, 0x1004, &base);
    CHECK(base == (u64)buffer + 8);
    CALL(SYS_arch_prctl, 0x1002, 1UL << 63);
    CALL(SYS_arch_prctl, 0x1003, 8);
    CALL(SYS_sched_yield);
    asm volatile("mov %%fs:0, %0" : "=r"(seen));
    if (fork() == 0) {
        asm volatile("mov %%gs:0, %0" : "=r"(seen));
        CHECK(seen == 0x5678);
        quit(0);
    }
    reap("child", -1);
    CHECK(syscall(SYS_set_tid_address, NULL) == syscall(SYS_gettid));
    syscall(SYS_sync);
    CALL(9999);
    CALL(-1);
}

int main(int argc, char **argv) {
    (void)argc, (void)argv;
    apart();
    limits();
    names();
    clocks();
    others();
    return 42;
}
