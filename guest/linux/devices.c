/* /dev, and what a process has open by the names in /proc/self/fd. */
#include "linux.h"


static char buffer[PAGE];

static void full(void) {
    i64 fd = CALL(SYS_open, "/dev/full", O_RDWR, 0);

    print("-- full\n");
    CALL(SYS_write, fd, "x", 1);
    CALL(SYS_write, fd, "x", 0);
    memset(buffer, 1, 10);
    CALL(SYS_read, fd, buffer, 10);
    print("%d %d\n", buffer[0], buffer[9]);
    closes(fd);
    fd = syscall(SYS_open, "/dev/null", O_RDWR, 0);
    CALL(SYS_write, fd, buffer, PAGE);
    CALL(SYS_read, fd, buffer, PAGE);
    closes(fd);
}

static void links(void) {
    static const char *const names[] = {"/dev/fd", "/dev/stdin", "/dev/stdout", "/dev/stderr"};

    print("-- links\n");
    for (u64 i = 0; i < COUNT(names); i++) {
        i64 n = CALL(SYS_readlink, names[i], buffer, 100);
        print("%s: %s\n", names[i], text(buffer, n > 0 ? n : 0));
    }
    CALL(SYS_mkdir, "/dev/shm/devices-test", 0700);
    i64 fd = CALL(SYS_open, "/dev/shm/devices-test/file", O_RDWR | O_CREAT, 0600);
    CALL(SYS_write, fd, "shared", 6);
    closes(fd);
    CALL(SYS_unlink, "/dev/shm/devices-test/file");
    CALL(SYS_rmdir, "/dev/shm/devices-test");
    struct stat s;
    CALL(SYS_lstat, "/dev/shm", &s);
    print("mode %x\n", s.mode);
}

static const char *name_of(i32 fd) {
    static char name[40];

    memcpy(name, "/dev/fd/", 8);
    decimal(name + 8, (u64)fd);
    return name;
}

/* A pipe that is opened again by its name is the same pipe, and nobody has to wait for the other side. */
static void pipes(void) {
    struct pipe p;

    print("-- pipes\n");
    make_pipe(&p);
    i64 in = CALL(SYS_open, name_of(p.read), O_RDONLY, 0);
    CALL(SYS_write, p.write, "through", 7);
    CALL(SYS_read, in, buffer, 100);
    print("%s\n", text(buffer, 7));
    closes(p.write);
    CALL(SYS_read, in, buffer, 100);
    i64 again = CALL(SYS_open, name_of(p.read), O_RDONLY, 0);
    CALL(SYS_read, again, buffer, 100);                 /* no writer: the end, at once */
    closes(again);
    i64 out = CALL(SYS_open, name_of(p.read), O_WRONLY, 0);
    CALL(SYS_write, out, "revived", 7);
    CALL(SYS_read, in, buffer, 100);
    print("%s\n", text(buffer, 7));
    closes(in), closes(p.read);
    CALL(SYS_open, name_of((i32)out), O_WRONLY | O_NONBLOCK, 0);        /* no reader, and no ENXIO */
    i64 reader = CALL(SYS_open, name_of((i32)out), O_RDONLY, 0);
    CALL(SYS_write, out, "still", 5);
    CALL(SYS_read, reader, buffer, 100);
    i64 both = CALL(SYS_open, name_of((i32)out), O_RDWR, 0);
    CALL(SYS_write, both, "own", 3);
    CALL(SYS_read, both, buffer, 100);
    closes(out), closes(reader), closes(both);
}

static void others(void) {
    i32 s[2];
    i64 fd, event;

    print("-- others\n");
    CALL(SYS_open, "/dev/stdin", O_RDONLY, 0);
    fd = syscall(SYS_open, "file", O_RDWR | O_CREAT, 0600);
    CALL(SYS_write, fd, "content", 7);
    CALL(SYS_unlink, "file");
    i64 again = CALL(SYS_open, name_of((i32)fd), O_RDONLY, 0);          /* with a position of its own */
    CALL(SYS_read, again, buffer, 100);
    print("%s\n", text(buffer, 7));
    closes(fd), closes(again);
    syscall(SYS_socketpair, 1, 1, 0, s);
    CALL(SYS_open, name_of(s[0]), O_RDWR, 0);
    event = syscall(SYS_eventfd2, 0, 0);
    CALL(SYS_open, name_of((i32)event), O_RDWR, 0);
    CALL(SYS_open, name_of(99), O_RDONLY, 0);
    CALL(SYS_open, "/dev/fd/x", O_RDONLY, 0);
}

int main(int argc, char **argv) {
    (void)argc, (void)argv;
    begin();
    full();
    links();
    pipes();
    others();
    return 42;
}
