/* What /proc tells of processes and of the system. */
#include "linux.h"

static char buffer[32 * PAGE], path[100], other[PAGE];
static i32 datum = 1;
static struct pipe p, q;

static i64 slurp(const char *name) {
    i64 fd = syscall(SYS_open, name, O_RDONLY, 0), n, used = 0;

    if (fd < 0)
        return text(buffer, 0), fd;
    while ((n = syscall(SYS_read, fd, buffer + used, sizeof buffer - 1 - (u64)used)) > 0)
        used += n;
    closes(fd);
    text(buffer, used);
    return n < 0 ? n : used;
}

/* The name of a file of a process. */
static char *of(i64 pid, const char *file) {
    memcpy(path, "/proc/", 6);
    decimal(path + 6, (u64)pid);
    u64 n = strlen(path);
    memcpy(path + n, file, strlen(file) + 1);
    return path;
}

/* The n-th field of /proc/.../stat, of which the second may hold anything but has its brackets. */
static const char *field(i32 n) {
    const char *s = buffer + strlen(buffer);

    while (s > buffer && *s != ')')
        s--;
    for (s += 2, n -= 3; n > 0 && *s; s++)
        n -= *s == ' ';
    return s;
}

/* The rest of the line that begins with this key, without the blanks. */
static char *key(const char *name) {
    static char value[200];
    u64 n = strlen(name), used = 0;

    for (const char *s = buffer; *s; s++)
        if ((s == buffer || s[-1] == '\n') && strlen(s) > n && same(s, name, n)) {
            for (s += n; *s == ' ' || *s == '\t'; s++)
                ;
            while (*s && *s != '\n' && used < sizeof value - 1)
                value[used++] = *s++;
            return text(value, (i64)used);
        }
    return "(no such line)";
}

static i64 is_digits(const char *s) {
    i64 n = 0;

    while (*s >= '0' && *s <= '9')
        s++, n++;
    return n;
}

static u64 hex(const char **s) {
    u64 v = 0;

    for (;; (*s)++)
        if (**s >= '0' && **s <= '9')
            v = v * 16 + (u64)(**s - '0');
        else if (**s >= 'a' && **s <= 'f')
            v = v * 16 + (u64)(**s - 'a') + 10;
        else
            return v;
}

/* What /proc/self/maps has at an address: its rights and its name. */
static void mapping(const char *what, u64 at) {
    for (const char *s = buffer; *s; s++) {
        u64 from = hex(&s), to;
        s++;
        to = hex(&s);
        const char *rights = s + 1;
        i32 words = 0;
        for (s++; *s && *s != '\n'; s++)
            words += *s == ' ' && s[1] != ' ' && s[1] != '\n';
        if (from <= at && at < to) {
            char r[5];
            memcpy(r, rights, 4);
            const char *name = s;
            while (name[-1] != ' ')
                name--;
            i32 brackets = *name == '[';
            u64 n = 0;
            while (brackets && name[n] && name[n] != '\n')
                other[n] = name[n], n++;
            print("%s: %s %s\n", what, text(r, 4), brackets ? text(other, (i64)n) : words > 3 ? "a file" : "nameless");
            return;
        }
        if (!*s)
            break;
    }
    print("%s: not there\n", what);
}

static void self(i32 argc, char **argv) {
    i64 me = syscall(SYS_getpid), n;
    u64 local = 1;

    print("-- self\n");
    n = syscall(SYS_readlink, "/proc/self", other, 100);
    CHECK(n > 0 && (i64)number(text(other, n)) == me && is_digits(other) == n);
    syscall(SYS_prctl, PR_SET_NAME, "odd) name (");
    CHECK(slurp("/proc/self/stat") > 0);
    CHECK((i64)number(buffer) == me && contains(buffer, " (odd) name () R "));
    CHECK((i64)number(field(4)) == syscall(SYS_getppid) && (i64)number(field(5)) == syscall(SYS_getpgrp));
    CHECK((i64)number(field(6)) == syscall(SYS_getsid, 0));
    print("threads %lu, exit signal %lu\n", number(field(20)), number(field(38)));
    CHECK(number(field(22)) > 0 && number(field(23)) >= PAGE);
    CHECK(buffer[strlen(buffer) - 1] == '\n' && slurp(of(me, "/stat")) > 0 && (i64)number(buffer) == me);
    CHECK(slurp("/proc/self/comm") == 12 && strcmp(buffer, "odd) name (\n") == 0);
    CHECK(slurp("/proc/self/status") > 0);
    static const char *const keys[] = {"Name:", "State:", "Uid:", "Gid:", "Threads:"};
    for (u64 i = 0; i < COUNT(keys); i++)
        print("%s %s\n", keys[i], key(keys[i]));
    CHECK((i64)number(key("Pid:")) == me && (i64)number(key("Tgid:")) == me && (i64)number(key("PPid:")) == syscall(SYS_getppid));
    CHECK(is_digits(key("VmSize:")) && contains(key("VmRSS:"), " kB"));
    mask(SIG_BLOCK, BIT(SIGUSR1) | BIT(SIGHUP));
    handle(SIGUSR2, SIG_IGN, 0, 0), handle(SIGTERM, (void *)self, 0, 0);
    syscall(SYS_kill, me, SIGUSR1);
    slurp("/proc/self/status");
    print("blocked %s, ", key("SigBlk:")), print("ignored %s, ", key("SigIgn:")), print("caught %s, ", key("SigCgt:"));
    print("pending %s\n", key("ShdPnd:"));
    handle(SIGUSR1, SIG_IGN, 0, 0), mask(SIG_SETMASK, 0);

    CHECK(slurp("/proc/self/maps") > 0);
    mapping("code", (u64)self);
    mapping("data", (u64)&datum);
    mapping("stack", (u64)&local);
    mapping("nothing", 0);
    char *heap = (char *)syscall(SYS_brk, 0);
    syscall(SYS_brk, heap + 2 * PAGE);
    char *m = (char *)syscall(SYS_mmap, NULL, PAGE, PROT_READ, PRIVATE_ANONYMOUS, -1, 0);
    i64 fd = syscall(SYS_open, "file", O_RDWR | O_CREAT, 0644);
    syscall(SYS_ftruncate, fd, PAGE);
    char *f = (char *)syscall(SYS_mmap, NULL, PAGE, R_W, SHARED, fd, 0);
    slurp("/proc/self/maps");
    mapping("heap", (u64)heap + PAGE);
    mapping("mapping", (u64)m);
    mapping("file", (u64)f);
    syscall(SYS_munmap, m, PAGE);
    slurp("/proc/self/maps");
    mapping("no mapping", (u64)m);

    n = slurp("/proc/self/cmdline");
    i64 at = 0;
    i32 equal = 1;
    for (i32 i = 0; i < argc; i++) {
        equal &= strcmp(buffer + at, argv[i]) == 0;
        at += (i64)strlen(argv[i]) + 1;
    }
    CHECK(equal && at == n);
    n = syscall(SYS_readlink, "/proc/self/exe", other, 1000);
    CHECK(n > 0 && other[0] == '/');
    struct stat s, t;
    CHECK(syscall(SYS_newfstatat, AT_FDCWD, "/proc/self/exe", &s, 0) == 0);
    CHECK(syscall(SYS_newfstatat, AT_FDCWD, text(other, n), &t, 0) == 0 && s.ino == t.ino && s.size == t.size);
    i64 l = syscall(SYS_getcwd, buffer, PAGE);
    n = syscall(SYS_readlink, "/proc/self/cwd", other, 1000);
    CHECK(n > 0 && l == n + 1 && same(buffer, other, (u64)n));
    CALL(SYS_readlink, "/proc/self/root", other, 1000);
    CALL(SYS_readlink, "/proc/self/fd/0", other, 1000);
    print("%s\n", text(other, 9));
    CALL(SYS_readlink, "/proc/self/fd/99", other, 1000);
    CALL(SYS_readlink, "/proc/self/stat", other, 1000);
    CALL(SYS_readlink, "/proc/self/exe", other, 3);
    closes(fd);
    i64 wait = syscall(SYS_open, "/proc/self/fd", O_RDONLY | O_DIRECTORY, 0);
    i32 found = 0;
    while ((n = syscall(SYS_getdents64, wait, buffer, 1000)) > 0)
        for (at = 0; at < n; at += *(u16 *)(buffer + at + 16))
            found += buffer[at + 19] == '.' ? 0 : 1 << number(buffer + at + 19);
    print("open: %x\n", (u32)found);
    closes(wait);
    fd = CALL(SYS_open, "/proc/self/fd/0", O_RDONLY, 0);
    CALL(SYS_read, fd, other, 1);
    closes(fd);
}

static void others(void) {
    print("-- others\n");
    make_pipe(&p), make_pipe(&q);
    i64 pid = fork(), n;
    if (pid == 0) {
        syscall(SYS_prctl, PR_SET_NAME, "child");
        passes(q.write);
        awaits(p.read);
        for (;;)
            syscall(SYS_kill, syscall(SYS_getpid), SIGSTOP);
    }
    awaits(q.read);
    i32 status;
    CHECK(slurp(of(pid, "/comm")) == 6 && strcmp(buffer, "child\n") == 0);
    CHECK(slurp(of(pid, "/stat")) > 0 && (i64)number(field(4)) == syscall(SYS_getpid));
    while (slurp(of(pid, "/stat")), *field(3) != 'S')   /* until it waits */
        syscall(SYS_sched_yield);
    CHECK(*field(3) == 'S');
    passes(p.write);
    syscall(SYS_wait4, pid, &status, WUNTRACED, NULL);
    slurp(of(pid, "/stat"));
    print("state %c\n", *field(3));
    slurp(of(pid, "/status"));
    print("State: %s\n", key("State:"));
    i64 fd = syscall(SYS_open, of(pid, "/stat"), O_RDONLY, 0), directory = syscall(SYS_open, of(pid, ""), O_RDONLY | O_DIRECTORY, 0);
    syscall(SYS_kill, pid, SIGKILL);
    struct siginfo info;
    CALL(SYS_waitid, P_PID, pid, &info, WEXITED | WNOWAIT, NULL);
    slurp(of(pid, "/stat"));
    print("state %c\n", *field(3));
    slurp(of(pid, "/status"));
    print("State: %s\n", key("State:"));
    RESULT(slurp(of(pid, "/cmdline")));
    RESULT(slurp(of(pid, "/maps")));
    RESULT(syscall(SYS_readlink, of(pid, "/exe"), other, 100));
    syscall(SYS_wait4, pid, NULL, 0, NULL);
    RESULT(slurp(of(pid, "/stat")));
    RESULT(slurp(of(pid, "")));
    CALL(SYS_read, fd, other, 100);
    CALL(SYS_openat, directory, "stat", O_RDONLY, 0);
    closes(fd), closes(directory);

    i64 me = syscall(SYS_getpid);
    i32 found = 0, first = 0, self_there = 0, sorted = 1;
    u64 before = 0;
    fd = syscall(SYS_open, "/proc", O_RDONLY | O_DIRECTORY, 0);
    while ((n = syscall(SYS_getdents64, fd, buffer, 2000)) > 0)
        for (i64 at = 0; at < n; at += *(u16 *)(buffer + at + 16)) {
            char *name = buffer + at + 19;
            self_there += strcmp(name, "self") == 0;
            if (!is_digits(name))
                continue;
            found += (i64)number(name) == me, first += number(name) == 1;
            sorted &= number(name) > before, before = number(name);
        }
    closes(fd);
    print("own process %d, the first %d, self %d, in order %d\n", found, first, self_there, sorted);
}

static void the_system(void) {
    print("-- system\n");
    CHECK(slurp("/proc/meminfo") > 0);
    CHECK(contains(key("MemTotal:"), " kB") && is_digits(key("MemTotal:")) && is_digits(key("MemFree:")));
    CHECK(is_digits(key("MemAvailable:")) && number(key("MemFree:")) <= number(key("MemTotal:")));
    CHECK(slurp("/proc/mounts") > 0 && (contains(buffer, " / ") && contains(buffer, " /proc proc ")));
    CHECK(slurp("/proc/self/mounts") > 0 && contains(buffer, " / "));
    CHECK(slurp("/proc/uptime") > 0);
    i64 whole = is_digits(buffer), part = is_digits(buffer + whole + 1);
    CHECK(whole > 0 && buffer[whole] == '.' && part == 2 && buffer[whole + 3] == ' ');
    for (whole += 4; is_digits(buffer + whole); whole++)
        ;
    CHECK(buffer[whole] == '.' && is_digits(buffer + whole + 1) == 2 && buffer[whole + 3] == '\n');
    CHECK(slurp("/proc/loadavg") > 0 && is_digits(buffer) && contains(buffer, "/"));
    slurp("/proc/stat");
    u64 forks = number(key("processes"));
    for (i32 i = 0; i < 3; i++) {
        if (fork() == 0)
            quit(0);
        syscall(SYS_wait4, -1, NULL, 0, NULL);
    }
    slurp("/proc/stat");
    CHECK(number(key("processes")) >= forks + 3);
    CHECK(slurp("/proc/version") > 0 && same(buffer, "Linux version ", 14));
    CHECK(slurp("/proc/cpuinfo") > 0 && contains(buffer, "processor\t: 0\n"));
    CHECK(contains(key("flags"), " fpu ") && contains(key("flags"), " sse2"));
    CHECK(slurp("/proc/stat") > 0 && same(buffer, "cpu  ", 5) && is_digits(key("btime")) && is_digits(key("processes")));
    CHECK(slurp("/proc/filesystems") > 0 && contains(buffer, "\tproc\n"));
    CHECK(slurp("/proc/sys/kernel/ostype") == 6 && same(buffer, "Linux\n", 6));
    CHECK(slurp("/proc/sys/kernel/pid_max") > 0 && is_digits(buffer));
    RESULT(slurp("/proc/none"));
    RESULT(slurp("/proc/self/none"));
    RESULT(slurp("/proc/self"));
    CALL(SYS_open, "/proc/uptime/x", O_RDONLY, 0);
    CALL(SYS_unlink, "/proc/uptime");
    CALL(SYS_mkdir, "/proc/new", 0755);
    CALL(SYS_open, "/proc/new", O_RDWR | O_CREAT, 0644);
    struct stat s;
    CALL(SYS_lstat, "/proc/uptime", &s);
    print("mode %x size %ld links %lu\n", s.mode, s.size, s.nlink);
    CALL(SYS_lstat, "/proc/self", &s);
    print("mode %x\n", s.mode);
    CALL(SYS_lstat, "/proc/self/exe", &s);
    print("mode %x\n", s.mode);
    CALL(SYS_lstat, "/proc", &s);
    print("mode %x\n", s.mode);
    i64 fd = CALL(SYS_open, "/proc/self/comm", O_RDWR, 0);      /* in parts, and written */
    CALL(SYS_write, fd, "renamed", 7);
    CALL(SYS_lseek, fd, 2, 0);
    CALL(SYS_read, fd, other, 3);
    print("%s\n", text(other, 3));
    CALL(SYS_read, fd, other, 100);
    CALL(SYS_read, fd, other, 100);
    CALL(SYS_pread64, fd, other, 100, 0);
    closes(fd);
}

int main(int argc, char **argv) {
    apart();
    self(argc, argv);
    others();
    the_system();
    return 42;
}
