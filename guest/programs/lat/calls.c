/* System calls that come back at once, after lmbench's lat_syscall, lat_select and lat_sig. */
#include "lat.h"

#define O_RDWR 2
#define POLLED 100              /* descriptors of one turn of "select" */

struct channel { i32 out, in; };

u64 null_call(u64 n) {
    u64 start = cycles();

    while (n--)
        syscall(SYS_getppid);
    return cycles() - start;
}

i32 open_file(const char *path) { return (i32)SURE(SYS_open, path, O_RDWR); }

u64 read_byte(u64 n) {
    i32 zero = open_file("/dev/zero");
    u8 byte;
    u64 start = cycles();

    while (n--)
        SURE(SYS_read, zero, &byte, 1);
    u64 spent = cycles() - start;
    SURE(SYS_close, zero);
    return spent;
}

u64 write_byte(u64 n) {
    i32 null = open_file("/dev/null");
    u64 start = cycles();

    while (n--)
        SURE(SYS_write, null, "", 1);
    u64 spent = cycles() - start;
    SURE(SYS_close, null);
    return spent;
}

u64 stat_file(u64 n) {
    u64 stat[18];
    u64 start = cycles();

    while (n--)
        SURE(SYS_stat, "/dev/null", stat);
    return cycles() - start;
}

u64 open_close(u64 n) {
    u64 start = cycles();

    while (n--)
        SURE(SYS_close, open_file("/dev/null"));
    return cycles() - start;
}

/* A pipe that stays empty, under many numbers: select looks at each, finds nothing, and does not wait. */
u64 select_many(u64 n) {
    struct channel p;
    struct { i64 s, us; } at_once = {0, 0};
    i32 copies[POLLED];
    u64 set[16] = {0}, asked[16];

    SURE(SYS_pipe, &p);
    for (u64 i = 0; i < POLLED; i++) {
        copies[i] = (i32)SURE(SYS_dup, p.out);
        set[copies[i] / 64] |= 1UL << copies[i] % 64;
    }
    u64 start = cycles();
    while (n--) {
        memcpy(asked, set, sizeof set);
        SURE(SYS_select, copies[POLLED - 1] + 1, asked, NULL, NULL, &at_once);
    }
    u64 spent = cycles() - start;
    for (u64 i = 0; i < POLLED; i++)
        SURE(SYS_close, copies[i]);
    SURE(SYS_close, p.out);
    SURE(SYS_close, p.in);
    return spent;
}

u64 install(u64 n) {
    u64 start = cycles();

    while (n--)
        handle(SIGUSR1, count_signal);
    return cycles() - start;
}
