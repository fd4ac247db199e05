/* Calls that have younger ones beside them, and what the other areas leave out: each is asked for at least once. */
#include "linux.h"

#define SYS_stat 4
#define SYS_getsockopt 55
#define SYS_lchown 94
#define SYS_utime 132
#define SYS_statfs 137
#define SYS_fstatfs 138
#define SYS_mlockall 151
#define SYS_munlockall 152
#define SYS_chroot 161
#define SYS_sethostname 170
#define SYS_setdomainname 171
#define SYS_epoll_create 213
#define SYS_fadvise64 221
#define SYS_utimes 235
#define SYS_mknodat 259
#define SYS_signalfd 282
#define SYS_eventfd 284

#define HERE (-100)
#define NOFOLLOW 0x100
#define EMPTY_PATH 0x1000
#define S_IFMT 0170000
#define S_IFIFO 0010000
#define S_IFREG 0100000
#define SOL_SOCKET 1
#define SO_TYPE 3
#define SO_ERROR 4
#define SO_DOMAIN 39

static char buffer[PAGE];

static void show_file(const char *path) {
    struct stat s;

    i64 result = syscall(SYS_stat, path, &s);
    if (result)
        print("%s: %ld\n", path, result);
    else
        print("%s: mode %lo, %lu links, %u:%u, %ld bytes\n", path, (u64)s.mode, s.nlink, s.uid, s.gid, s.size);
}

static void making(void) {
    struct stat s;
    i64 fd;

    print("-- making\n");
    CHECK((fd = syscall(SYS_creat, "made", 0640)) >= 0);
    CALL(SYS_write, fd, "12345", 5);
    CALL(SYS_read, fd, buffer, 5);
    show_file("made");
    CHECK(syscall(SYS_creat, "made", 0600) >= 0);       /* cut, with its old mode */
    show_file("made");
    CALL(SYS_creat, "no/made", 0600);
    CALL(SYS_creat, 8, 0600);
    CALL(SYS_mknodat, HERE, "fifo", S_IFIFO | 0622, 0);
    CALL(SYS_mknodat, HERE, "fifo", S_IFIFO | 0622, 0);
    CALL(SYS_mknodat, HERE, "plain", 0600, 0);
    CALL(SYS_mknodat, HERE, "odd", 0050000 | 0600, 0);
    show_file("fifo");
    show_file("plain");
    CALL(SYS_stat, "made", 8);
    CALL(SYS_stat, "", &s);
    CALL(SYS_stat, "made/", &s);
    CALL(SYS_stat, "made/x", &s);
}

static void owners(void) {
    i64 fd = syscall(SYS_open, "made", O_RDWR, 0);

    print("-- owners\n");
    CALL(SYS_fchmod, fd, 06755);
    show_file("made");
    CALL(SYS_fchown, fd, 12, 34);                       /* takes the two bits along */
    show_file("made");
    CALL(SYS_fchown, fd, -1, 35);
    CALL(SYS_symlinkat, "made", HERE, "link");
    CALL(SYS_lchown, "link", 56, 78);
    show_file("made");
    CALL(SYS_fchownat, HERE, "link", 57, -1, NOFOLLOW);
    CALL(SYS_fchownat, HERE, "link", 13, -1, 0);
    CALL(SYS_fchownat, fd, "", 14, -1, EMPTY_PATH);
    CALL(SYS_fchownat, fd, "", 14, -1, 0);
    CALL(SYS_fchownat, HERE, "link", 14, -1, 1);
    show_file("made");
    CALL(SYS_fchmod, 99, 0600);
    CALL(SYS_fchown, 99, 0, 0);
    CALL(SYS_lchown, "none", 0, 0);
    CALL(SYS_faccessat2, HERE, "made", 7, 0);
    CALL(SYS_faccessat2, HERE, "plain", 1, 0x200);
    CALL(SYS_faccessat2, HERE, "link", 4, NOFOLLOW);
    CALL(SYS_faccessat2, fd, "", 4, EMPTY_PATH);
    CALL(SYS_faccessat2, HERE, "made", 8, 0);
    CALL(SYS_faccessat2, HERE, "made", 4, 2);
    syscall(SYS_close, fd);
}

static void times(void) {
    i64 seconds[2] = {1000, 2000}, micros[4] = {3, 500000, 4, 0}, wrong[4] = {1, 1000000, 1, 0};
    struct stat s;

    print("-- times\n");
    CALL(SYS_utime, "made", seconds);
    syscall(SYS_stat, "made", &s);
    print("%ld %ld, %ld %ld\n", s.time[0], s.time[1], s.time[2], s.time[3]);
    CALL(SYS_utimes, "made", micros);
    syscall(SYS_stat, "made", &s);
    print("%ld %ld, %ld %ld\n", s.time[0], s.time[1], s.time[2], s.time[3]);
    CALL(SYS_utimes, "made", wrong);
    CALL(SYS_utimes, "none", micros);
    CALL(SYS_utimes, "made", 8);
    CALL(SYS_utime, "made", NULL);
    syscall(SYS_stat, "made", &s);
    CHECK(s.time[0] > 4 && s.time[0] == s.time[2]);
}

static void systems(void) {
    u64 fs[15], other[15];
    i64 fd = syscall(SYS_open, "made", O_RDWR, 0);

    print("-- systems\n");
    CALL(SYS_statfs, ".", fs);
    CALL(SYS_fstatfs, fd, other);
    CHECK(fs[0] == other[0] && fs[1] == other[1] && fs[8] == 255);
    CALL(SYS_statfs, "/proc", fs);
    print("type %lx, names up to %lu\n", fs[0], fs[8]);
    CALL(SYS_statfs, "none", fs);
    CALL(SYS_statfs, ".", 8);
    CALL(SYS_fstatfs, 99, fs);
    for (i64 advice = 0; advice < 7; advice++)
        CALL(SYS_fadvise64, fd, 0, 0, advice);
    CALL(SYS_fadvise64, 99, 0, 0, 0);
    CALL(SYS_fadvise64, fd, 0, -1, 0);
    struct { const char *at; u64 size; } parts[2] = {{"abc", 3}, {"def", 3}};
    CALL(SYS_pwritev, fd, parts, 2, 4, 0);
    show_file("made");
    CALL(SYS_pread64, fd, buffer, 16, 3);
    print("%d %s\n", buffer[0], text(buffer + 1, 6));
    CALL(SYS_pwritev, fd, parts, 2, -1, -1);
    CALL(SYS_pwritev, fd, parts, 1025, 0, 0);
    CALL(SYS_pwritev, fd, parts, 0, 0, 0);
    syscall(SYS_close, fd);
}

static void watchers(void) {
    u64 set = BIT(SIGUSR1), value;
    i64 epoll, event, signal;

    print("-- watchers\n");
    CHECK((epoll = syscall(SYS_epoll_create, 1)) >= 0);
    CALL(SYS_fcntl, epoll, F_GETFD, 0);
    CALL(SYS_epoll_create, 0);
    CALL(SYS_epoll_create, -1);
    CHECK((event = syscall(SYS_eventfd, 3)) >= 0);
    CALL(SYS_fcntl, event, F_GETFL, 0);
    CALL(SYS_read, event, &value, 8);
    print("%lu\n", value);
    mask(SIG_BLOCK, set);
    CHECK((signal = syscall(SYS_signalfd, -1, &set, 8)) >= 0);
    CALL(SYS_signalfd, -1, &set, 4);
    CALL(SYS_signalfd, event, &set, 8);
    CALL(SYS_signalfd, 99, &set, 8);
    CALL(SYS_signalfd, -1, 8, 8);
    syscall(SYS_kill, syscall(SYS_getpid), SIGUSR1);
    CALL(SYS_read, signal, buffer, 128);
    print("signal %d\n", *(i32 *)buffer);
    closes(epoll), closes(event), closes(signal);
}

static void sockets(void) {
    i32 pair[2], value = -1, size = 4;

    print("-- sockets\n");
    CALL(SYS_socket, 77, 1, 0);
    CALL(SYS_socketpair, 1, 5, 0, pair);
    CALL(SYS_getsockopt, pair[0], SOL_SOCKET, SO_TYPE, &value, &size);
    print("%d, %d bytes\n", value, size);
    CALL(SYS_getsockopt, pair[0], SOL_SOCKET, SO_DOMAIN, &value, &size);
    print("%d\n", value);
    size = 2;
    CALL(SYS_getsockopt, pair[0], SOL_SOCKET, SO_ERROR, &value, &size);
    print("%d bytes\n", size);
    size = -1;
    CALL(SYS_getsockopt, pair[0], SOL_SOCKET, SO_ERROR, &value, &size);
    size = 4;
    CALL(SYS_getsockopt, pair[0], SOL_SOCKET, 999, &value, &size);
    CALL(SYS_getsockopt, pair[0], SOL_SOCKET, SO_TYPE, 8, &size);
    CALL(SYS_getsockopt, 99, SOL_SOCKET, SO_TYPE, &value, &size);
    CALL(SYS_getsockopt, syscall(SYS_open, ".", O_RDONLY, 0), SOL_SOCKET, SO_TYPE, &value, &size);
}

/* The machine's names stay what they are. */
static void names(void) {
    struct { char system[65], node[65], release[65], version[65], machine[65], domain[65]; } before, after;

    print("-- names\n");
    syscall(SYS_uname, &before);
    CALL(SYS_sethostname, before.node, 65);
    CALL(SYS_sethostname, before.node, -1);
    CALL(SYS_sethostname, 8, 3);
    CALL(SYS_sethostname, before.node, strlen(before.node));
    CALL(SYS_setdomainname, before.domain, 65);
    CALL(SYS_setdomainname, before.domain, strlen(before.domain));
    syscall(SYS_uname, &after);
    CHECK(strcmp(before.node, after.node) == 0 && strcmp(before.domain, after.domain) == 0);
    if (fork() == 0) {
        syscall(SYS_setuid, 1000);
        CALL(SYS_sethostname, before.node, 3);
        CALL(SYS_setdomainname, 8, 3);
        quit(0);
    }
    reap("child", -1);
}

static void roots(void) {
    print("-- another root\n");
    CALL(SYS_mkdir, "inner", 0755);
    syscall(SYS_creat, "inner/file", 0600);
    CALL(SYS_chroot, "none");
    CALL(SYS_chroot, "plain");
    CALL(SYS_chroot, 8);
    if (fork() == 0) {
        CALL(SYS_chroot, "inner");
        show_file("made");                              /* the current directory stays where it is */
        show_file("/file");
        CALL(SYS_chdir, "/");
        show_file("../../file");
        show_file("made");
        print("%s\n", syscall(SYS_getcwd, buffer, PAGE) > 0 ? buffer : "no name");
        quit(0);
    }
    reap("child", -1);
    show_file("made");
}

int main(int argc, char **argv) {
    (void)argc, (void)argv;
    apart();
    syscall(SYS_umask, 022);
    making();
    owners();
    times();
    systems();
    watchers();
    sockets();
    names();
    roots();
    return 42;
}
