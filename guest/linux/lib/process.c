/* Processes of the tests: making them, waiting for them, and keeping step with them. */
#include "linux.h"

i64 show(const char *call, i64 result) {
    print("%s = %ld\n", call, result);
    return result;
}

void begin(void) {
    u64 no_core[2] = {0, 0};

    syscall(SYS_close_range, 3, ~0U, 0);
    for (i32 s = 1; s <= 64; s++)
        handle(s, SIG_DFL, 0, 0);
    mask(SIG_SETMASK, 0);
    syscall(SYS_umask, 022);
    syscall(SYS_setrlimit, 4, no_core);
}

void apart(void) {
    i32 status = 0;
    i64 pid;

    begin();
    if ((pid = fork()) == 0)
        return;
    syscall(SYS_wait4, pid, &status, 0, NULL);
    quit(status & 0x7f ? 128 + (status & 0x7f) : status >> 8 & 0xff);
}

void quit(i32 status) {
    for (;;)
        syscall(SYS_exit_group, status);
}

i64 fork(void) {
    return syscall(SYS_fork);
}

/* Whether a core was dumped (0x80) is the system's choice. */
void show_status(const char *what, i32 status) {
    if (status == 0xffff)
        print("%s: continued\n", what);
    else if ((status & 0xff) == 0x7f)
        print("%s: stopped by %d\n", what, status >> 8);
    else if (status & 0x7f)
        print("%s: killed by %d\n", what, status & ~0x80);
    else
        print("%s: exit %d\n", what, status >> 8);
}

i64 reap(const char *what, i64 pid) {
    i32 status = -1;
    i64 r;

    while ((r = syscall(SYS_wait4, pid, &status, 0, NULL)) == -4)
        ;
    if (r < 0)
        print("%s: wait %ld\n", what, r);
    else
        show_status(what, status);
    return r;
}

void passes(i32 fd) {
    syscall(SYS_write, fd, "!", 1);
}

i32 awaits(i32 fd) {
    char c;
    i64 r;

    while ((r = syscall(SYS_read, fd, &c, 1)) == -4)
        ;
    return (i32)r;
}

void make_pipe(struct pipe *p) {
    i64 r = syscall(SYS_pipe2, p, 0);

    if (r) {
        print("no pipe: %ld\n", r);
        quit(99);
    }
}

void nap(i64 milliseconds) {
    struct timespec t = {milliseconds / 1000, milliseconds % 1000 * 1000000};

    while (syscall(SYS_nanosleep, &t, &t) == -4)
        ;
}

i64 microseconds(void) {
    struct timespec t;

    syscall(SYS_clock_gettime, 1, &t);
    return t.s * 1000000 + t.ns / 1000;
}

void closes(i64 fd) {
    syscall(SYS_close, fd);
}
