/* Files beyond syscalls.c: directories as starting points, offsets that are shared,
 * locks, names that move, holes, and files in memory. */
#include "linux.h"

#define AT_REMOVEDIR 0x200
#define AT_SYMLINK_NOFOLLOW 0x100
#define AT_EMPTY_PATH 0x1000
#define RENAME_NOREPLACE 1
#define RENAME_EXCHANGE 2
#define F_RDLCK 0
#define F_WRLCK 1
#define F_UNLCK 2
#define LOCK_SH 1
#define LOCK_EX 2
#define LOCK_NB 4
#define LOCK_UN 8

struct lock { u16 type, whence; i64 start, length; i32 pid; };

static char buffer[4 * PAGE];
static struct pipe p, q;

static void show_stat(i64 at, const char *path, i32 flags) {
    struct stat s;
    i64 r = syscall(SYS_newfstatat, at, path, &s, flags);

    if (r)
        print("%s: error %ld\n", path, r);
    else if ((s.mode & 0170000) == 0040000)     /* the size of a directory is the file system's */
        print("%s: mode %x links %lu\n", path, s.mode, s.nlink);
    else
        print("%s: mode %x links %lu size %ld\n", path, s.mode, s.nlink, s.size);
}

static u64 inode(const char *path) {
    struct stat s = {0};
    return syscall(SYS_lstat, path, &s) ? 0 : s.ino;
}

static i64 make(const char *path, const char *content) {
    i64 fd = syscall(SYS_open, path, O_RDWR | O_CREAT | O_TRUNC, 0644);

    syscall(SYS_write, fd, content, strlen(content));
    return fd;
}

static void contents(const char *path) {
    i64 fd = syscall(SYS_open, path, O_RDONLY, 0), n = syscall(SYS_read, fd, buffer, 200);

    print("%s (%ld): %s\n", path, n, text(buffer, n));
    closes(fd);
}

static void relative(void) {
    print("-- relative\n");
    CALL(SYS_mkdir, "d", 0755);
    i64 d = CALL(SYS_open, "d", O_RDONLY | O_DIRECTORY, 0);
    i64 fd = CALL(SYS_openat, d, "f", O_RDWR | O_CREAT, 0640);
    show_stat(AT_FDCWD, "d/f", 0);
    CALL(SYS_openat, fd, "x", O_RDONLY, 0);
    CALL(SYS_openat, 99, "x", O_RDONLY, 0);
    CALL(SYS_openat, 99, "/", O_RDONLY | O_DIRECTORY, 0);
    CALL(SYS_mkdirat, d, "e", 0700);
    CALL(SYS_symlinkat, "f", d, "l");
    CALL(SYS_linkat, d, "f", AT_FDCWD, "h", 0);
    CALL(SYS_linkat, d, "l", d, "hard l", 0);
    show_stat(d, "hard l", AT_SYMLINK_NOFOLLOW);
    show_stat(d, "hard l", 0);
    show_stat(d, "", AT_EMPTY_PATH);
    CALL(SYS_readlinkat, d, "l", buffer, 100);
    CALL(SYS_faccessat, d, "f", 4, 0);
    CALL(SYS_faccessat, d, "g", 4, 0);
    CALL(SYS_fchmodat, d, "f", 0600);
    CALL(SYS_renameat, d, "f", AT_FDCWD, "moved");
    CALL(SYS_unlinkat, d, "e", 0);
    CALL(SYS_unlinkat, d, "moved", 0);
    CALL(SYS_unlinkat, AT_FDCWD, "moved", AT_REMOVEDIR);
    CALL(SYS_unlinkat, d, "e", AT_REMOVEDIR);
    CALL(SYS_unlinkat, d, "l", 1);
    CALL(SYS_fchdir, fd);
    CALL(SYS_fchdir, d);
    CHECK(syscall(SYS_getcwd, buffer, sizeof buffer) > 0 && contains(buffer, "/d"));
    show_stat(AT_FDCWD, "../moved", 0);
    CALL(SYS_chdir, "..");
    CALL(SYS_mkdir, "gone", 0755);
    CALL(SYS_chdir, "gone");
    CALL(SYS_rmdir, "../gone");
    CALL(SYS_getcwd, buffer, 4096);             /* it has no name any more */
    CALL(SYS_open, "new", O_RDWR | O_CREAT, 0644);
    CALL(SYS_open, ".", O_RDONLY, 0);
    CALL(SYS_chdir, "..");
    closes(fd), closes(d);
    for (i32 i = 3; i < 8; i++)
        closes(i);
}

static void offsets(void) {
    print("-- offsets\n");
    i64 a = make("a", "0123456789"), b = syscall(SYS_dup, a), c = syscall(SYS_open, "a", O_RDWR | O_APPEND, 0);
    CALL(SYS_lseek, b, 4, 0);
    CALL(SYS_lseek, a, 1, 1);
    if (fork() == 0) {
        CALL(SYS_read, a, buffer, 2);
        CALL(SYS_fcntl, b, F_SETFL, O_APPEND);
        quit(0);
    }
    reap("child", -1);
    CALL(SYS_lseek, b, 0, 1);
    CALL(SYS_fcntl, a, F_GETFL, 0);             /* flags are of what was opened, too */
    CALL(SYS_write, a, "x", 1);
    CALL(SYS_write, c, "yy", 2);
    CALL(SYS_lseek, c, 0, 1);
    CALL(SYS_lseek, a, 0, 1);
    CALL(SYS_pwrite64, c, "P", 1, 0);           /* appends, whatever the position */
    contents("a");
    CALL(SYS_lseek, a, 5, 5);
    CALL(SYS_lseek, a, 0, 3);
    CALL(SYS_dup3, a, a, 0);
    CALL(SYS_dup2, a, a);
    CALL(SYS_dup2, 99, 5);
    CALL(SYS_dup2, a, -1);
    CALL(SYS_fcntl, a, 1030, 30);
    CALL(SYS_fcntl, 30, F_GETFD, 0);
    closes(a), closes(b), closes(c), closes(30);

    a = syscall(SYS_open, "log", O_WRONLY | O_CREAT | O_APPEND, 0644);
    for (i32 i = 0; i < 4; i++)                 /* lines of many are all there, untorn */
        if (fork() == 0) {
            char line[8];
            memset(line, 'a' + i, 7), line[7] = '\n';
            i64 own = i & 1 ? a : syscall(SYS_open, "log", O_WRONLY | O_APPEND, 0);
            for (i32 j = 0; j < 20; j++)
                syscall(SYS_write, own, line, 8);
            quit(0);
        }
    for (i32 i = 0; i < 4; i++)
        syscall(SYS_wait4, -1, NULL, 0, NULL);
    closes(a);
    a = syscall(SYS_open, "log", O_RDONLY, 0);
    i64 n = CALL(SYS_read, a, buffer, sizeof buffer);
    i32 count[4] = {0}, torn = 0;
    for (i64 i = 0; i < n; i += 8) {
        count[(buffer[i] - 'a') & 3]++;
        for (i64 j = 1; j < 7; j++)
            torn += buffer[i + j] != buffer[i];
    }
    print("%d %d %d %d, torn %d\n", count[0], count[1], count[2], count[3], torn);
    closes(a);
}

static i64 set_lock(i64 fd, i32 type, i64 start, i64 length) {
    struct lock l = {(u16)type, 0, start, length, 0};
    return syscall(SYS_fcntl, fd, F_SETLK, &l);
}

static void locks(void) {
    print("-- locks\n");
    i64 a = make("a", "0123456789"), b;
    struct lock l = {F_WRLCK, 0, 0, 0, 0};
    i64 parent = syscall(SYS_getpid);
    RESULT(set_lock(a, F_WRLCK, 2, 3));
    RESULT(set_lock(a, F_RDLCK, 7, 1));
    RESULT(set_lock(a, 9, 2, 3));
    make_pipe(&p), make_pipe(&q);
    i64 pid = fork();
    if (pid == 0) {
        RESULT(set_lock(a, F_WRLCK, 0, 2));     /* next to it */
        RESULT(set_lock(a, F_WRLCK, 4, 1));
        RESULT(set_lock(a, F_RDLCK, 4, 1));
        RESULT(set_lock(a, F_RDLCK, 7, 1));
        RESULT(set_lock(a, F_WRLCK, 7, 1));
        CALL(SYS_fcntl, a, F_GETLK, &l);
        CHECK(l.pid == parent);
        print("type %d start %ld length %ld\n", l.type, l.start, l.length);
        l = (struct lock){F_RDLCK, 0, 100, 0, 0};
        CALL(SYS_fcntl, a, F_GETLK, &l);
        print("type %d\n", l.type);
        l = (struct lock){F_WRLCK, 0, 2, 1, 0};
        passes(q.write);
        CALL(SYS_fcntl, a, F_SETLKW, &l);       /* until the parent gives it up */
        quit(0);
    }
    awaits(q.read);
    nap(1);
    i64 r = set_lock(a, F_UNLCK, 2, 1);
    reap("child", pid);
    print("unlocked %ld\n", r);
    RESULT(set_lock(a, F_WRLCK, 0, 4));         /* the child's went with it */
    b = syscall(SYS_open, "a", O_RDWR, 0);
    RESULT(set_lock(b, F_WRLCK, 0, 0));         /* no conflict within a process */
    closes(b);                                  /* but any close takes away all */
    if (fork() == 0) {
        RESULT(set_lock(a, F_WRLCK, 0, 0));
        quit(0);
    }
    reap("child", -1);

    b = syscall(SYS_open, "a", O_RDONLY, 0);    /* the others are of what was opened */
    CALL(SYS_flock, a, LOCK_EX);
    CALL(SYS_flock, b, LOCK_SH | LOCK_NB);
    CALL(SYS_flock, a, LOCK_SH);
    CALL(SYS_flock, b, LOCK_SH | LOCK_NB);
    CALL(SYS_flock, a, LOCK_EX | LOCK_NB);
    CALL(SYS_flock, b, LOCK_UN);
    i64 c = syscall(SYS_dup, a);
    CALL(SYS_flock, a, LOCK_EX | LOCK_NB);
    closes(a);
    CALL(SYS_flock, b, LOCK_SH | LOCK_NB);
    closes(c);
    CALL(SYS_flock, b, LOCK_SH | LOCK_NB);
    CALL(SYS_flock, b, 77);
    CALL(SYS_flock, 99, LOCK_SH);
    closes(b);
}

static void names(void) {
    struct stat s, t;

    print("-- names\n");
    closes(make("one", "1")), closes(make("two", "22"));
    CALL(SYS_link, "one", "same");
    CHECK(inode("one") && inode("one") == inode("same") && inode("one") != inode("two"));
    CALL(SYS_rename, "one", "same");            /* both names are of one file: nothing happens */
    show_stat(AT_FDCWD, "one", 0);
    CALL(SYS_renameat2, AT_FDCWD, "one", AT_FDCWD, "two", RENAME_NOREPLACE);
    CALL(SYS_renameat2, AT_FDCWD, "one", AT_FDCWD, "two", RENAME_EXCHANGE);
    contents("one"), contents("two");
    CALL(SYS_renameat2, AT_FDCWD, "one", AT_FDCWD, "none", RENAME_EXCHANGE);
    CALL(SYS_renameat2, AT_FDCWD, "one", AT_FDCWD, "none", 64);
    i64 fd = syscall(SYS_open, "two", O_RDWR, 0);
    CALL(SYS_rename, "one", "two");
    CALL(SYS_fstat, fd, &s);
    print("links %lu\n", s.nlink);
    CALL(SYS_unlink, "same");
    CALL(SYS_fstat, fd, &s);
    print("links %lu\n", s.nlink);
    CALL(SYS_write, fd, "more", 4);
    CALL(SYS_lseek, fd, 0, 2);
    char self[40] = "/proc/self/fd/";
    decimal(self + 14, (u64)fd);
    i64 n = syscall(SYS_readlink, self, buffer, 200);
    CHECK(n > 0 && contains(text(buffer, n), "/two (deleted)"));
    i64 again = syscall(SYS_open, self, O_RDONLY, 0);
    CALL(SYS_pread64, again, buffer, 100, 0);
    closes(again), closes(fd);
    make_pipe(&p);
    decimal(self + 14, (u64)p.read);
    n = syscall(SYS_readlink, self, buffer, 200);
    CHECK(n > 0 && contains(text(buffer, n), "pipe:["));
    closes(p.read), closes(p.write);

    CALL(SYS_mkdir, "gone", 0755);              /* a place whose way back is gone as well */
    CALL(SYS_mkdir, "gone/deep", 0755);
    i64 here = syscall(SYS_open, ".", O_RDONLY, 0);
    CALL(SYS_chdir, "gone/deep");
    CALL(SYS_unlinkat, here, "gone/deep", AT_REMOVEDIR);
    CALL(SYS_unlinkat, here, "gone", AT_REMOVEDIR);
    CALL(SYS_mkdirat, here, "other", 0755);
    CALL(SYS_getcwd, buffer, 100);
    CHECK(syscall(SYS_open, "..", O_RDONLY, 0) >= 0);
    CALL(SYS_open, "../other", O_RDONLY, 0);
    CALL(SYS_mkdir, "../new", 0755);
    CALL(SYS_fchdir, here);
    CALL(SYS_rmdir, "other");
    closes((i32)here);
    CALL(SYS_mknod, "fifo", 010600, 0);
    i64 place = syscall(SYS_open, "fifo", O_PATH, 0);
    CALL(SYS_read, place, buffer, 1);
    i32 waiting;
    CALL(SYS_ioctl, place, FIONREAD, &waiting);
    CALL(SYS_close, place);
    CALL(SYS_mkdir, "x", 0755);
    CALL(SYS_mkdir, "x/y", 0755);
    CALL(SYS_symlink, "../x", "x/back");
    show_stat(AT_FDCWD, "x/back/back/y/../back/y/.", 0);
    CALL(SYS_symlink, "l2", "l1");
    CALL(SYS_symlink, "l1", "l2");
    CALL(SYS_open, "l1", O_RDONLY, 0);
    CALL(SYS_open, "l1/x", O_RDONLY, 0);
    CALL(SYS_symlink, "x/", "slash");
    CALL(SYS_unlink, "slash/");
    CALL(SYS_rmdir, "slash");
    CALL(SYS_rename, "x", "x/y/z");
    char name[400];
    memset(name, 'n', sizeof name), name[255] = 0;
    i64 long_fd = CALL(SYS_open, name, O_RDWR | O_CREAT, 0644);
    closes(long_fd);
    CALL(SYS_unlink, name);
    name[255] = 'n', name[256] = 0;
    CALL(SYS_open, name, O_RDWR | O_CREAT, 0644);
    memset(buffer, '/', 4096), buffer[4096] = 0;
    CALL(SYS_open, buffer, O_RDONLY, 0);
    buffer[4095] = 0;
    fd = CALL(SYS_open, buffer, O_RDONLY, 0);
    closes(fd);

    fd = syscall(SYS_open, "x", O_RDONLY | O_DIRECTORY, 0);
    i32 seen = 0, kinds = 0;
    for (i32 i = 0; i < 100; i++) {
        char file[16] = "x/file";
        decimal(file + 6, (u64)i);
        closes(make(file, ""));
    }
    while ((n = syscall(SYS_getdents64, fd, buffer, 400)) > 0)
        for (i64 at = 0; at < n; seen++, at += *(u16 *)(buffer + at + 16))
            kinds += buffer[at + 18] == 8 ? 1 : buffer[at + 18] == 4 ? 1000 : buffer[at + 18] == 10 ? 100000 : 0;
    print("%d entries, kinds %d\n", seen, kinds);
    closes(fd);

    CALL(SYS_umask, 027);
    closes(syscall(SYS_open, "masked", O_RDWR | O_CREAT, 0666));
    CALL(SYS_mkdir, "masked d", 01777);
    show_stat(AT_FDCWD, "masked", 0);
    show_stat(AT_FDCWD, "masked d", 0);
    CALL(SYS_umask, 022);
    CALL(SYS_chmod, "masked", 06755);
    show_stat(AT_FDCWD, "masked", 0);
    CALL(SYS_chown, "masked", 1000, 1001);
    show_stat(AT_FDCWD, "masked", 0);           /* of the set-id bits nothing remains */
    CALL(SYS_lstat, "masked", &t);
    print("owner %u group %u\n", t.uid, t.gid);
    CALL(SYS_chmod, ".", 0755);                 /* or they could not even look into it */
    if (fork() == 0) {                          /* without the rights of root */
        CALL(SYS_chmod, "masked", 0440);
        CALL(SYS_setresuid, 1000, 1000, 1000);
        CALL(SYS_open, "masked", O_RDONLY, 0);
        CALL(SYS_open, "masked", O_RDWR, 0);
        CALL(SYS_access, "masked", 2);
        CALL(SYS_open, "two", O_RDWR, 0);
        CALL(SYS_unlink, "two");
        CALL(SYS_chmod, "two", 0777);
        CALL(SYS_chown, "masked", 0, 0);
        CALL(SYS_open, "x/forbidden", O_RDWR | O_CREAT, 0644);
        CALL(SYS_open, "masked d/f", O_RDONLY, 0);
        CALL(SYS_setuid, 0);
        quit(0);
    }
    reap("user", -1);
    u8 x[256];
    CALL(SYS_statx, AT_FDCWD, "masked", 0, 0x7ff, x);
    print("mode %x links %u owner %u size %lu\n", *(u16 *)(x + 28), *(u32 *)(x + 16), *(u32 *)(x + 20), *(u64 *)(x + 40));
    CHECK(*(u64 *)(x + 32) == t.ino);
    CALL(SYS_statx, AT_FDCWD, "masked", 0x80000000, 0x7ff, x);
    CALL(SYS_statx, 0, "", AT_EMPTY_PATH, 0x7ff, x);
    CHECK((*(u16 *)(x + 28) & 0170000) == 0020000);
}

static void holes(void) {
    struct stat s;
    i64 n = 0;

    print("-- holes\n");
    i64 fd = make("sparse", "start");
    CALL(SYS_pwrite64, fd, "end", 3, 10 << 20);
    CALL(SYS_fstat, fd, &s);
    CHECK(s.blocks * 512 < s.size / 2);
    print("size %ld\n", s.size);
    CALL(SYS_pread64, fd, buffer, 4096, 5 << 20);
    CHECK(buffer[0] == 0 && buffer[4095] == 0);
    CALL(SYS_pread64, fd, buffer, 10, (10 << 20) - 5);
    CHECK(same(buffer, "\0\0\0\0\0end", 8));
    CALL(SYS_ftruncate, fd, 3);
    CALL(SYS_ftruncate, fd, 10);
    CALL(SYS_pread64, fd, buffer, 100, 0);
    CHECK(same(buffer, "sta\0\0\0\0\0\0\0", 10));
    CALL(SYS_fsync, fd);
    CALL(SYS_fdatasync, fd);
    CALL(SYS_fsync, 0);
    CALL(SYS_fsync, 99);
    i64 out = syscall(SYS_open, "out", O_RDWR | O_CREAT, 0644), from = 1;
    CALL(SYS_sendfile, out, fd, &from, 5);
    print("from %ld\n", from);
    CALL(SYS_lseek, fd, 0, 1);
    make_pipe(&p);
    CALL(SYS_sendfile, p.write, fd, NULL, 100);
    CALL(SYS_sendfile, p.write, fd, NULL, 100);
    CALL(SYS_ioctl, p.read, FIONREAD, &n);
    print("%ld in the pipe\n", n);
    CALL(SYS_sendfile, out, p.read, NULL, 5);
    CALL(SYS_sendfile, fd, 99, NULL, 5);
    from = -1;
    CALL(SYS_sendfile, out, fd, &from, 5);
    CALL(SYS_copy_file_range, fd, NULL, out, &from, 5, 0);
    closes(p.read), closes(p.write), closes(out);

    /* a file in the memory of several processes */
    syscall(SYS_ftruncate, fd, 2 * PAGE);
    char *m = (char *)syscall(SYS_mmap, NULL, 2 * PAGE, R_W, SHARED, fd, 0);
    char *own = (char *)syscall(SYS_mmap, NULL, 2 * PAGE, R_W, PRIVATE, fd, 0);
    own[0] = 'o';
    if (fork() == 0) {
        m[1] = 'c', own[0] = 'p', m[PAGE] = 'd';
        CALL(SYS_pwrite64, fd, "w", 1, PAGE + 1);
        quit(0);
    }
    reap("child", -1);
    CHECK(m[1] == 'c' && own[0] == 'o' && own[PAGE] == 'd' && m[PAGE + 1] == 'w');
    CALL(SYS_pread64, fd, buffer, 2, PAGE);
    CHECK(buffer[0] == 'd' && buffer[1] == 'w');
    m[PAGE + 100] = 'z';
    CALL(SYS_ftruncate, fd, PAGE + 50);
    CHECK(m[PAGE] == 'd' && m[PAGE + 100] == 0);        /* what lies behind the end is cleared */
    CALL(SYS_ftruncate, fd, PAGE);
    CALL(SYS_write, 1, m + PAGE, 1);
    CALL(SYS_getrandom, m + PAGE, 1, 0);
    for (i32 i = 0; i < 2; i++) {
        if (fork() == 0)
            *(volatile char *)((i ? own : m) + PAGE) = 1;
        reap("behind the end", -1);
    }
    CALL(SYS_ftruncate, fd, 2 * PAGE);
    CHECK(m[PAGE] == 0 && m[PAGE + 100] == 0);
    closes(fd);
    m[5] = 'k';                                 /* the mapping outlives the descriptor, and the name */
    CALL(SYS_unlink, "sparse");
    CHECK(m[5] == 'k' && m[0] == 's');
}

int main(int argc, char **argv) {
    (void)argc, (void)argv;
    begin();
    relative();
    offsets();
    locks();
    names();
    holes();
    return 42;
}
