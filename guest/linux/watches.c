/* inotify: what is told of files and directories, in which order, and what is not. */
#include "sockets.h"

#define SYS_rename 82
#define SYS_inotify_init 253
#define SYS_inotify_add_watch 254
#define SYS_inotify_rm_watch 255
#define SYS_inotify_init1 294
#define ALL 0xfffu
#define CREATE 0x100u
#define DELETE 0x200u
#define MODIFY 2u
#define ONLYDIR 0x01000000u
#define MASK_CREATE 0x10000000u
#define MASK_ADD 0x20000000u
#define ONESHOT 0x80000000u

struct event { i32 wd; u32 mask, cookie, length; char name[]; };

static char buffer[65536];
static u32 cookies[64];
static u64 known;

/* Linux has one counter for all: each cookie is told by its order here. */
static u64 order(u32 cookie) {
    u64 i = 0;

    while (i < known && cookies[i] != cookie)
        i++;
    if (i == known && known < sizeof cookies / sizeof *cookies)
        cookies[known++] = cookie;
    return i + 1;
}

static void show_events(i64 fd) {
    i64 n = syscall(SYS_read, fd, buffer, sizeof buffer);

    if (n < 0)
        print("  %ld\n", n);
    for (i64 at = 0; at < n;) {
        struct event *e = (struct event *)(buffer + at);
        print("  %d: %x cookie %u length %u %s\n", e->wd, e->mask, e->cookie ? (u32)order(e->cookie) : 0, e->length, e->length ? e->name : "");
        at += (i64)(sizeof *e + e->length);
    }
}

static void making(void) {
    i32 n = -1;

    print("-- making\n");
    i64 fd = CALL(SYS_inotify_init1, O_NONBLOCK | O_CLOEXEC);
    CALL(SYS_fcntl, fd, F_GETFL, 0);
    CALL(SYS_fcntl, fd, F_GETFD, 0);
    CALL(SYS_inotify_init1, 1);
    CALL(SYS_inotify_add_watch, fd, "none", ALL);
    CALL(SYS_inotify_add_watch, fd, ".", 0);
    CALL(SYS_inotify_add_watch, fd, 8, ALL);
    CALL(SYS_inotify_add_watch, 99, ".", ALL);
    CALL(SYS_inotify_add_watch, 0, ".", ALL);
    CALL(SYS_inotify_add_watch, fd, ".", MASK_ADD | MASK_CREATE | ALL);
    closes(syscall(SYS_open, "plain", O_CREAT | O_RDWR, 0600));
    CALL(SYS_inotify_add_watch, fd, "plain", ONLYDIR | ALL);
    CALL(SYS_inotify_add_watch, fd, "plain", ALL);
    CALL(SYS_inotify_add_watch, fd, ".", ALL);
    CALL(SYS_inotify_add_watch, fd, "plain", MODIFY);           /* the same, with another mask */
    CALL(SYS_inotify_add_watch, fd, "plain", MASK_CREATE | ALL);
    CALL(SYS_inotify_rm_watch, fd, 99);
    CALL(SYS_inotify_rm_watch, fd, 2);
    show_events(fd);
    CALL(SYS_read, fd, buffer, 100);
    show_ready("nothing", fd);
    CALL(SYS_write, fd, buffer, 10);
    i64 file = syscall(SYS_open, "plain", O_RDWR, 0);
    CALL(SYS_write, file, "xx", 2);
    show_ready("something", fd);
    CALL(SYS_ioctl, fd, FIONREAD, &n);
    print("%d to read\n", n);
    CALL(SYS_read, fd, buffer, 15);
    show_events(fd);
    closes(file), closes(fd);
    CALL(SYS_unlink, "plain");
}

static void directories(void) {
    i64 fd = syscall(SYS_inotify_init1, O_NONBLOCK), file;

    print("-- directories\n");
    syscall(SYS_mkdir, "one", 0755);
    syscall(SYS_mkdir, "two", 0755);
    CALL(SYS_inotify_add_watch, fd, "one", ALL);
    CALL(SYS_inotify_add_watch, fd, "two", ALL);
    file = syscall(SYS_open, "one/file", O_CREAT | O_RDWR, 0600);
    syscall(SYS_write, file, "1", 1);
    syscall(SYS_write, file, "2", 1);
    show_events(fd);                                           /* two writes in a row are one event */
    syscall(SYS_pread64, file, buffer, 1, 0);
    syscall(SYS_ftruncate, file, 0);
    syscall(SYS_fchmod, file, 0644);
    show_events(fd);
    closes(file);
    closes(syscall(SYS_open, "one/file", O_RDONLY, 0));
    syscall(SYS_truncate, "one/file", 10);
    closes(syscall(SYS_open, "one/file", O_WRONLY | O_TRUNC, 0));
    show_events(fd);
    syscall(SYS_mkdir, "one/inner", 0700);
    syscall(SYS_symlink, "nowhere", "one/link");
    syscall(SYS_link, "one/file", "two/file");
    syscall(SYS_mknod, "one/fifo", 010600, 0);
    show_events(fd);
    syscall(SYS_rename, "one/file", "one/renamed");
    syscall(SYS_rename, "one/renamed", "two/moved");            /* two names of one file: nothing happens */
    show_events(fd);
    syscall(SYS_unlink, "two/file");
    syscall(SYS_rename, "one/renamed", "two/moved");
    syscall(SYS_rename, "one/inner", "two/inner");
    show_events(fd);
    syscall(SYS_unlink, "two/moved");
    syscall(SYS_rmdir, "two/inner");
    syscall(SYS_unlink, "one/link");
    syscall(SYS_unlink, "one/fifo");
    syscall(SYS_unlink, "two/none");
    show_events(fd);
    file = syscall(SYS_open, "two", O_RDONLY | O_DIRECTORY, 0);
    syscall(SYS_getdents64, file, buffer, 1000);
    closes(file);
    show_events(fd);
    syscall(SYS_rmdir, "one");
    show_events(fd);
    syscall(SYS_rename, "two", "three");
    show_events(fd);
    CALL(SYS_inotify_rm_watch, fd, 2);
    show_events(fd);
    closes(fd);
    syscall(SYS_rmdir, "three");
}

static void files(void) {
    i64 fd = syscall(SYS_inotify_init), file;

    print("-- files\n");
    syscall(SYS_fcntl, fd, F_SETFL, O_NONBLOCK);
    file = syscall(SYS_open, "file", O_CREAT | O_RDWR, 0600);
    CALL(SYS_inotify_add_watch, fd, "file", ALL);
    syscall(SYS_link, "file", "second");
    syscall(SYS_rename, "file", "moved");
    syscall(SYS_chmod, "second", 0600);
    show_events(fd);
    syscall(SYS_unlink, "second");
    syscall(SYS_unlink, "moved");
    show_events(fd);
    syscall(SYS_write, file, "x", 1);                   /* without a name, it is still there */
    show_events(fd);
    closes(file);
    show_events(fd);
    CALL(SYS_inotify_rm_watch, fd, 1);
    closes(syscall(SYS_open, "file", O_CREAT | O_RDWR, 0600));
    CALL(SYS_inotify_add_watch, fd, "file", 0x20 | ONESHOT);
    closes(syscall(SYS_open, "file", O_RDONLY, 0));
    closes(syscall(SYS_open, "file", O_RDONLY, 0));
    show_events(fd);
    closes(syscall(SYS_open, "other", O_CREAT | O_RDWR, 0600));
    CALL(SYS_inotify_add_watch, fd, "other", ALL);
    syscall(SYS_rename, "file", "other");               /* takes its place */
    show_events(fd);
    CALL(SYS_unlink, "other");
    closes(fd);
}

static void waiting(void) {
    i64 fd = syscall(SYS_inotify_init1, 0);

    print("-- waiting\n");
    CALL(SYS_inotify_add_watch, fd, ".", CREATE | DELETE);
    if (fork() == 0) {
        nap(10);
        closes(syscall(SYS_open, "late", O_CREAT | O_RDWR, 0600));
        quit(0);
    }
    struct pollfd p = {(i32)fd, POLLIN, 0};
    CALL(SYS_poll, &p, 1, 5000);
    show_events(fd);
    reap("child", -1);
    CALL(SYS_unlink, "late");
    show_events(fd);
}

int main(int argc, char **argv) {
    (void)argc, (void)argv;
    apart();
    making();
    directories();
    files();
    waiting();
    return 42;
}
