/* The calls that the first programs made: files, directories, memory, time and signals of one process. */
#include "linux.h"

static char buffer[4 * PAGE];

static void show_stat(const char *path) {
    struct stat s;
    i64 r = syscall(SYS_lstat, path, &s);

    if (r)
        print("%s: error %ld\n", path, -r);
    else if ((s.mode & 0170000) == 0040000)
        print("%s: mode %x links %lu\n", path, s.mode, s.nlink);
    else
        print("%s: mode %x links %lu size %ld\n", path, s.mode, s.nlink, s.size);
}

static void files(void) {
    i64 fd = CALL(SYS_open, "a", O_RDWR | O_CREAT | O_EXCL, 0644);

    print("-- files\n");
    CALL(SYS_open, "a", O_RDWR | O_CREAT | O_EXCL, 0644);
    CALL(SYS_write, fd, "hello, world\n", 13);
    CALL(SYS_lseek, fd, 0, 0);
    CALL(SYS_read, fd, buffer, 5);
    CALL(SYS_lseek, fd, 0, 1);
    CALL(SYS_pread64, fd, buffer, 5, 7);
    CALL(SYS_pwrite64, fd, "W", 1, 7);
    CALL(SYS_pread64, fd, buffer, 100, 100);
    CALL(SYS_lseek, fd, -1, 0);
    CALL(SYS_lseek, fd, 10000, 2);
    CALL(SYS_write, fd, "end", 3);
    show_stat("a");
    CALL(SYS_pread64, fd, buffer, 8, 9000);
    CHECK(buffer[0] == 0 && buffer[7] == 0);
    CALL(SYS_ftruncate, fd, 5);
    CALL(SYS_ftruncate, fd, 4096);
    CALL(SYS_pread64, fd, buffer, 4096, 0);
    CHECK(buffer[4] == 'o' && buffer[5] == 0 && buffer[4095] == 0);
    CALL(SYS_ftruncate, fd, -1);
    CALL(SYS_truncate, "a", 3);
    show_stat("a");
    struct { const char *base; u64 n; } v[3] = {{"ab", 2}, {"", 0}, {"cde", 3}};
    CALL(SYS_lseek, fd, 0, 0);
    CALL(SYS_writev, fd, v, 3);
    CALL(SYS_writev, fd, v, -1);
    CALL(SYS_writev, 99, v, 3);
    CALL(SYS_lseek, fd, 0, 0);
    struct { char *base; u64 n; } w[2] = {{buffer, 2}, {buffer + 100, 10}};
    CALL(SYS_readv, fd, w, 2);
    CHECK(buffer[1] == 'b' && buffer[100] == 'c');
    i64 again = CALL(SYS_dup, fd);
    CALL(SYS_lseek, again, 1, 0);
    CALL(SYS_lseek, fd, 0, 1);
    CALL(SYS_dup2, fd, 77);
    CALL(SYS_fcntl, 77, 1, 0);
    CALL(SYS_fcntl, 77, 2, 1);
    CALL(SYS_fcntl, 77, 1, 0);
    CALL(SYS_fcntl, fd, 0, 50);
    CALL(SYS_fcntl, fd, 3, 0);
    CALL(SYS_fcntl, 1000, 3, 0);
    CALL(SYS_close, 77);
    CALL(SYS_close, 77);
    CALL(SYS_close, fd);
    CALL(SYS_close, again);
    CALL(SYS_close, 50);
    fd = CALL(SYS_open, "a", O_WRONLY | O_APPEND, 0);
    CALL(SYS_write, fd, "+", 1);
    CALL(SYS_read, fd, buffer, 1);
    CALL(SYS_lseek, fd, 0, 1);
    CALL(SYS_close, fd);
    fd = CALL(SYS_open, "a", O_RDONLY, 0);
    CALL(SYS_write, fd, "x", 1);
    CALL(SYS_read, fd, 0xffff888000000000UL, 1);
    CALL(SYS_read, fd, 0x7fffffffffffUL, 2);
    CALL(SYS_read, fd, 16, 1);
    CALL(SYS_write, 1, 0xffffffff80000000UL, 1);
    CALL(SYS_ioctl, fd, 0x5401, buffer);
    CALL(SYS_ioctl, fd, 0x12345678, buffer);
    CALL(SYS_getdents64, fd, buffer, 1000);
    CALL(SYS_close, fd);
    CALL(SYS_open, "a", O_RDONLY | O_DIRECTORY, 0);
    CALL(SYS_open, "a/", O_RDONLY, 0);
    CALL(SYS_open, "a/b", O_RDONLY, 0);
    CALL(SYS_open, "", O_RDONLY, 0);
    CALL(SYS_open, "none", O_RDONLY, 0);
    CALL(SYS_open, "none/x", O_RDWR | O_CREAT, 0644);
    CALL(SYS_open, NULL, O_RDONLY, 0);
    CALL(SYS_open, ".", O_RDWR, 0);
    CALL(SYS_read, 1000, buffer, 1);
    CALL(SYS_read, -1, buffer, 1);
}

/* Directory entries, sorted by their first letter: the order is the file system's. */
static void list(const char *path) {
    i64 fd = syscall(SYS_open, path, O_RDONLY | O_DIRECTORY, 0), n;
    char seen[256][24] = {{0}};

    while ((n = syscall(SYS_getdents64, fd, buffer, 1024)) > 0)
        for (i64 at = 0; at < n; at += *(u16 *)(buffer + at + 16)) {
            char *name = buffer + at + 19;
            u64 length = strlen(name);
            memcpy(seen[(u8)name[0] + (name[0] == '.' && name[1])], name, length < 23 ? length + 1 : 23);
        }
    print("%s:", path);
    for (u64 i = 0; i < 256; i++)
        if (seen[i][0])
            print(" %s", seen[i]);
    print(" (%ld)\n", n);
    CALL(SYS_getdents64, fd, buffer, 10);
    CALL(SYS_lseek, fd, 0, 0);
    CALL(SYS_getdents64, fd, buffer, 10);
    CALL(SYS_read, fd, buffer, 10);
    syscall(SYS_close, fd);
}

static void names(void) {
    print("-- names\n");
    CALL(SYS_umask, 022);
    CALL(SYS_mkdir, "d", 0777);
    CALL(SYS_mkdir, "d", 0777);
    CALL(SYS_mkdir, "d/e/", 0700);
    CALL(SYS_mkdir, "x/y", 0700);
    CALL(SYS_mkdir, ".", 0700);
    CALL(SYS_mkdir, "..", 0700);
    CALL(SYS_mkdir, "/", 0700);
    CALL(SYS_symlink, "a", "l");
    CALL(SYS_symlink, "l", "m");
    CALL(SYS_symlink, "loop", "loop");
    CALL(SYS_symlink, "d/new", "n");
    CALL(SYS_symlink, "", "o");
    CALL(SYS_symlink, "a", "l");
    CALL(SYS_readlink, "m", buffer, 100);
    CALL(SYS_readlink, "n", buffer, 2);
    CALL(SYS_readlink, "a", buffer, 100);
    CALL(SYS_readlink, "m", buffer, 0);
    CALL(SYS_open, "loop", O_RDONLY, 0);
    CALL(SYS_open, "l", O_RDONLY | O_NOFOLLOW, 0);
    CALL(SYS_open, "l", O_CREAT | O_EXCL | O_WRONLY, 0644);
    i64 fd = CALL(SYS_open, "n", O_CREAT | O_WRONLY, 0600);
    CALL(SYS_close, fd);
    show_stat("d/new");
    show_stat("d");
    show_stat("m");
    CALL(SYS_link, "a", "h");
    CALL(SYS_link, "a", "h");
    CALL(SYS_link, "d", "hd");
    CALL(SYS_link, "none", "h2");
    show_stat("a");
    CALL(SYS_access, "a", 2);
    CALL(SYS_access, "a", 1);
    CALL(SYS_access, "none", 0);
    CALL(SYS_access, "d", 1);
    CALL(SYS_chmod, "a", 0755);
    CALL(SYS_access, "a", 1);
    CALL(SYS_chmod, "none", 0755);
    show_stat("h");
    list("d");
    CALL(SYS_rename, "a", "d/a");
    CALL(SYS_rename, "none", "b");
    CALL(SYS_rename, "d", "d/e/f");
    CALL(SYS_rename, "d/a", "d/e");
    CALL(SYS_rename, "d/e", "d/a");
    CALL(SYS_rename, "d/a", "h");
    show_stat("d/a");
    show_stat("h");
    CALL(SYS_rename, "d/e", "e");
    CALL(SYS_mkdir, "e/x", 0755);
    CALL(SYS_mkdir, "f", 0755);
    CALL(SYS_rename, "f", "e");
    CALL(SYS_rename, "e", "f");
    show_stat("f");
    show_stat("f/x/..");
    CALL(SYS_rmdir, "f");
    CALL(SYS_rmdir, "f/x");
    CALL(SYS_rmdir, "f/.");
    CALL(SYS_rmdir, "f/");
    CALL(SYS_rmdir, "h");
    CALL(SYS_rmdir, "none");
    CALL(SYS_unlink, "d");
    CALL(SYS_unlink, "h/");
    CALL(SYS_unlink, "none");
    CALL(SYS_chdir, "d");
    CHECK(syscall(SYS_getcwd, buffer, 4096) > 0);
    CALL(SYS_getcwd, buffer, 1);
    list("../d");
    CALL(SYS_chdir, "../h");
    CALL(SYS_chdir, "..");
    fd = CALL(SYS_open, "gone", O_RDWR | O_CREAT, 0600);
    CALL(SYS_write, fd, "still here", 10);
    CALL(SYS_unlink, "gone");
    CALL(SYS_pread64, fd, buffer, 100, 0);
    CALL(SYS_close, fd);
    struct { i64 s, ns; } t[2] = {{1, 2}, {3, 4}};
    CALL(SYS_utimensat, AT_FDCWD, "h", t, 0);
    struct stat s;
    CALL(SYS_newfstatat, AT_FDCWD, "h", &s, 0);
    CHECK(s.time[0] == 1 && s.time[1] == 2 && s.time[2] == 3 && s.time[3] == 4);
    CALL(SYS_newfstatat, AT_FDCWD, "", &s, 0);
    CALL(SYS_newfstatat, 99, "h", &s, 0);
    CALL(SYS_newfstatat, AT_FDCWD, "h", 8, 0);
}

static void memory(void) {
    print("-- memory\n");
    char *p = (char *)syscall(SYS_mmap, NULL, 8 * PAGE, R_W, PRIVATE_ANONYMOUS, -1, 0);
    CHECK((u64)p % PAGE == 0 && p[0] == 0 && p[8 * PAGE - 1] == 0);
    p[PAGE] = 1, p[2 * PAGE] = 2;
    print("protect %ld\n", syscall(SYS_mprotect, p + PAGE, PAGE, 1));
    print("read into it %ld\n", syscall(SYS_getrandom, p + PAGE, 1, 0));
    CHECK(p[PAGE] == 1);
    print("protect back %ld\n", syscall(SYS_mprotect, p + PAGE, PAGE, R_W));
    p[PAGE] = 3;
    print("no access %ld\n", syscall(SYS_mprotect, p + 2 * PAGE, PAGE, 0));
    print("write from it %ld\n", syscall(SYS_write, 1, p + 2 * PAGE, 1));
    print("access again %ld\n", syscall(SYS_mprotect, p + 2 * PAGE, PAGE, 1));
    CHECK(p[2 * PAGE] == 2);
    print("hole %ld\n", syscall(SYS_munmap, p + 4 * PAGE, PAGE));
    print("hole again %ld\n", syscall(SYS_munmap, p + 4 * PAGE, PAGE));
    print("over the hole %ld\n", syscall(SYS_mprotect, p, 8 * PAGE, R_W));
    print("unaligned %ld\n", syscall(SYS_munmap, p + 1, PAGE));
    print("nothing %ld\n", syscall(SYS_munmap, p, 0));
    print("drop %ld\n", syscall(SYS_madvise, p + PAGE, PAGE, 4));
    CHECK(p[PAGE] == 0);
    print("drop over the hole %ld\n", syscall(SYS_madvise, p, 8 * PAGE, 4));
    print("onto itself %ld\n", syscall(SYS_mmap, p, PAGE, R_W, PRIVATE_ANONYMOUS | NOREPLACE, -1, 0));
    CHECK(syscall(SYS_mmap, p + 4 * PAGE, PAGE, R_W, PRIVATE_ANONYMOUS | FIXED, -1, 0) == (i64)p + 4 * (i64)PAGE);
    CHECK(syscall(SYS_mmap, 0x1234567, PAGE, R_W, PRIVATE_ANONYMOUS | FIXED, -1, 0) == -22);
    print("no size %ld\n", syscall(SYS_mmap, NULL, 0, R_W, PRIVATE_ANONYMOUS, -1, 0));
    print("no kind %ld\n", syscall(SYS_mmap, NULL, PAGE, R_W, 0x20, -1, 0));
    print("no file %ld\n", syscall(SYS_mmap, NULL, PAGE, R_W, PRIVATE, 99, 0));
    print("too much %ld\n", syscall(SYS_mmap, NULL, 1UL << 60, R_W, PRIVATE_ANONYMOUS, -1, 0));

    p[0] = 'x';
    char *q = (char *)syscall(SYS_mremap, p, PAGE, 3 * PAGE, 1, 0);
    CHECK(q[0] == 'x' && q[2 * PAGE] == 0);
    print("shrink %d\n", (char *)syscall(SYS_mremap, q, 3 * PAGE, PAGE, 0, 0) == q);
    print("grow what is not there %ld\n", syscall(SYS_mremap, 0x10000, PAGE, 2 * PAGE, 1, 0));

    char *old = (char *)syscall(SYS_brk, 0), *new = (char *)syscall(SYS_brk, old + 3 * PAGE);
    CHECK(new == old + 3 * PAGE && new[-1] == 0);
    new[-1] = 1;
    CHECK((char *)syscall(SYS_brk, old) == old);
    CHECK((char *)syscall(SYS_brk, new) == new && new[-1] == 0);
    CHECK((char *)syscall(SYS_brk, 1) == new);

    i64 fd = syscall(SYS_open, "map", O_RDWR | O_CREAT, 0644);
    syscall(SYS_write, fd, "0123456789", 10);
    char *s = (char *)syscall(SYS_mmap, NULL, 2 * PAGE, R_W, SHARED, fd, 0);
    char *c = (char *)syscall(SYS_mmap, NULL, PAGE, R_W, PRIVATE, fd, 0);
    CHECK(s[0] == '0' && c[9] == '9' && s[10] == 0);
    s[0] = 'A';
    CHECK(c[0] == 'A');
    c[1] = 'B';
    CHECK(s[1] == '1');
    syscall(SYS_pwrite64, fd, "C", 1, 2);
    CHECK(s[2] == 'C');
    print("the file now: %ld", syscall(SYS_pread64, fd, buffer, 10, 0));
    buffer[10] = 0;
    print(" %s\n", buffer);
    print("behind its end %ld\n", syscall(SYS_write, 1, s + PAGE, 1));
    syscall(SYS_close, fd);
    fd = syscall(SYS_open, "map", O_RDONLY, 0);
    print("shared, writable, of a file that is not %ld\n", syscall(SYS_mmap, NULL, PAGE, R_W, SHARED, fd, 0));
    i64 out = syscall(SYS_open, "copy", O_RDWR | O_CREAT, 0644);
    CALL(SYS_sendfile, out, fd, NULL, 100);
    CALL(SYS_sendfile, out, fd, NULL, 100);
    show_stat("copy");
    u64 from = 2, to = 5;
    CALL(SYS_copy_file_range, fd, &from, out, &to, 4, 0);
    CHECK(from == 6 && to == 9);
    CALL(SYS_pread64, out, buffer, 20, 0);
    buffer[10] = 0;
    print("%s\n", buffer);
    CALL(SYS_fallocate, out, 0, 0, 100);
    CALL(SYS_fallocate, fd, 0, 0, 100);
    CALL(SYS_fallocate, out, 0, 0, 0);
    show_stat("copy");
}

static volatile i32 handled;
static void handler(i32 signal) { handled = signal; }

static void signals(void) {
    struct action a = {handler, SA_RESTORER, restorer, 0}, old;
    u64 set = 1UL << 9, before = 0;
    i64 me = syscall(SYS_getpid);

    print("-- signals\n");
    CALL(SYS_rt_sigaction, 10, &a, &old, 8);
    CALL(SYS_rt_sigaction, 9, &a, NULL, 8);
    CALL(SYS_rt_sigaction, 65, &a, NULL, 8);
    CALL(SYS_rt_sigaction, 10, &a, NULL, 4);
    CALL(SYS_kill, me, 10);
    CHECK(handled == 10);
    handled = 0;
    CALL(SYS_rt_sigprocmask, 0, &set, &before, 8);
    CALL(SYS_kill, me, 10);
    CHECK(handled == 0);
    CALL(SYS_rt_sigprocmask, 1, &set, NULL, 8);
    CHECK(handled == 10);
    CALL(SYS_kill, me, 0);
    CALL(SYS_kill, me, 99);
    CALL(SYS_kill, me, 17);
    CALL(SYS_tgkill, me, syscall(SYS_gettid), 18);
    double x = 1.5;                     /* the handler must not disturb what the vector registers hold */
    for (int i = 0; i < 3; i++) {
        syscall(SYS_kill, me, 10);
        x *= 2;
    }
    CHECK(x == 12.0);
}

static void rest(void) {
    struct { i64 s, ns; } t = {0, 1000000}, u = {0, 1000000000}, a, b;
    u64 limit[2];
    u32 word = 5;

    print("-- the rest\n");
    syscall(SYS_clock_gettime, 1, &a);
    CALL(SYS_nanosleep, &t, NULL);
    CALL(SYS_nanosleep, &u, NULL);
    syscall(SYS_clock_gettime, 1, &b);
    CHECK((b.s - a.s) * 1000000000 + b.ns - a.ns >= 1000000);
    CALL(SYS_clock_gettime, 99, &a);
    CALL(SYS_gettimeofday, &a, NULL);
    CHECK(syscall(SYS_getpid) == syscall(SYS_gettid));
    CALL(SYS_uname, buffer);
    CALL(SYS_uname, NULL);
    CHECK(strcmp(buffer, "Linux") == 0);
    CALL(SYS_getrandom, buffer, 16, 0);
    CALL(SYS_getrandom, buffer, 16, 64);
    CALL(SYS_prlimit64, 0, 7, NULL, limit);
    CALL(SYS_prlimit64, 0, 16, NULL, limit);
    CALL(SYS_getrlimit, 3, limit);
    CALL(SYS_futex, &word, 128, 6, NULL);
    CALL(SYS_futex, &word, 129, 1, NULL);
    CALL(SYS_futex, &word, 128, 5, &t);
    CALL(SYS_arch_prctl, 0x9999, 0);
    CALL(SYS_arch_prctl, 0x1002, 1UL << 63);
    CALL(SYS_statx, AT_FDCWD, "none", 0, 0xfff, buffer);
    CALL(SYS_statx, AT_FDCWD, "h", 0, 0xfff, buffer);
    CHECK(*(u16 *)(buffer + 28) == 0100755 && *(u32 *)(buffer + 16) == 1);
    i64 null = CALL(SYS_open, "/dev/null", O_RDWR, 0);
    CALL(SYS_read, null, buffer, 10);
    CALL(SYS_write, null, buffer, 10);
    CALL(SYS_close, null);
    i64 zero = CALL(SYS_open, "/dev/zero", O_RDWR, 0);
    buffer[0] = 1;
    CALL(SYS_read, zero, buffer, sizeof buffer);
    CHECK(buffer[0] == 0);
    CALL(SYS_ioctl, zero, 0x5401, buffer);
    struct { i32 fd; u16 events, revents; } p[2] = {{(i32)zero, 1, 0}, {99, 1, 0}};
    CALL(SYS_poll, p, 2, 0);
    CHECK(p[0].revents == 1 && p[1].revents == 32);
    syscall(SYS_close, zero);
    struct { i64 every[2], value[2]; } timer = {{0, 0}, {100, 0}}, left;
    CALL(SYS_setitimer, 0, &timer, NULL);
    CALL(SYS_getitimer, 0, &left);
    CHECK(left.value[0] == 99 || left.value[0] == 100);
    CHECK(syscall(SYS_alarm, 0) == 100);
    CALL(SYS_alarm, 0);
    CALL(SYS_close_range, 3, ~0U, 0);
    CALL(SYS_close, 3);
    CALL(9999);
}

int main(int argc, char **argv) {
    (void)argc, (void)argv;
    CALL(SYS_mkdir, "syscalls.tmp", 0755);
    CALL(SYS_chdir, "syscalls.tmp");
    files();
    names();
    memory();
    signals();
    rest();
    return 42;
}
