/* A byte through a pipe or a socket, to oneself or to another process and back:
 *
 *      parent ── there ──▶ child        "pipe": one turn is a byte there and one back
 *             ◀── back ───
 */
#include "lat.h"

#define AF_UNIX 1
#define SOCK_STREAM 1

struct channel { i32 out, in; };

static void close_both(struct channel c) {
    SURE(SYS_close, c.out);
    SURE(SYS_close, c.in);
}

static void take(i32 from) {
    u8 byte;

    SURE(SYS_read, from, &byte, 1);
}

static void kick(i32 to) { SURE(SYS_write, to, "", 1); }

/* There and back once before the time counts: the child then has its own copies of the pages that it writes. */
static u64 round_trips(struct channel ours, struct channel childs, u64 n) {
    i64 child = SURE(SYS_fork);
    if (!child) {
        for (u64 i = 0; i < n + 1; i++) {
            take(childs.out);
            kick(childs.in);
        }
        syscall(SYS_exit_group, 0);
    }
    kick(ours.in);
    take(ours.out);
    u64 start = cycles();
    while (n--) {
        kick(ours.in);
        take(ours.out);
    }
    u64 spent = cycles() - start;
    wait_for(child);
    return spent;
}

u64 ping_pong(u64 n) {
    struct channel there, back;

    SURE(SYS_pipe, &there);
    SURE(SYS_pipe, &back);
    u64 spent = round_trips((struct channel){back.out, there.in}, (struct channel){there.out, back.in}, n);
    close_both(there);
    close_both(back);
    return spent;
}

u64 socket_pair(u64 n) {
    i32 ends[2];

    SURE(SYS_socketpair, AF_UNIX, SOCK_STREAM, 0, ends);
    u64 spent = round_trips((struct channel){ends[0], ends[0]}, (struct channel){ends[1], ends[1]}, n);
    close_both((struct channel){ends[0], ends[1]});
    return spent;
}

u64 own_pipe(u64 n) {
    struct channel p;

    SURE(SYS_pipe, &p);
    u64 start = cycles();
    while (n--) {
        kick(p.in);
        take(p.out);
    }
    u64 spent = cycles() - start;
    close_both(p);
    return spent;
}

/* A round trip is two switches, and as many calls as two bytes through a pipe of one's own; both with a timer set. */
u64 context_switch(u64 n) {
    set_far_alarm();
    u64 pair = ping_pong(n), calls = 2 * own_pipe(n);
    no_alarm_with_e();
    return pair > calls ? (pair - calls) / 2 : 0;
}
