/* serve [CLIENTS [REQUESTS]]: a server and its clients, over local sockets, in one program.
 *
 *   client ──connect, ask──►  server: epoll ─► a session's memory ─► an answer of 16 to 256 KiB
 *   client ◄────answer──────          timer ─► what was answered half a second ago leaves the cache
 *
 * A session's memory goes with its connection, the cache's with time; clients wait between requests, and none at the same
 * time as another one does.  Prints what was asked and answered, which is always the same. */
#include "program.h"

#define PAGE 4096UL
#define SESSION (64 * PAGE)
#define ANSWER_UNIT (4 * PAGE)
#define CACHE 64
#define CACHE_LIFE 5                    /* ticks */
#define TICK_MS 100UL
#define MOST_EVENTS 16
#define MOST_FD 256
#define AF_UNIX 1
#define SOCK_STREAM 1
#define EPOLLIN 1U
#define EPOLL_CTL_ADD 1
#define CLOCK_MONOTONIC 1
#define PROT_READ_WRITE 3
#define MAP_PRIVATE_ANONYMOUS 0x22

enum { SYS_socket = 41, SYS_connect = 42, SYS_accept = 43, SYS_bind = 49, SYS_listen = 50, SYS_epoll_ctl = 233,
       SYS_epoll_wait = 232, SYS_epoll_create1 = 291, SYS_timerfd_create = 283, SYS_timerfd_settime = 286 };

struct address { u16 family; char path[16]; };
struct event { u32 events; u64 data; } __attribute__((packed));
struct request { u32 client, number; };
struct answer { u8 *bytes; u64 size, age; };

static const struct address where = {AF_UNIX, "/tmp/serve"};
static struct answer cache[CACHE];
static u8 *session[MOST_FD];
static u64 answered, sent;

#define SURE(...) sure(#__VA_ARGS__, syscall(__VA_ARGS__))
static i64 sure(const char *call, i64 result) {
    if (result < 0) {
        print("serve: %s: error %ld\n", call, -result);
        syscall(SYS_exit_group, 1);
    }
    return result;
}

static void sleep_ms(u64 ms) {
    u64 time[2] = {ms / 1000, ms % 1000 * 1000000};

    syscall(SYS_nanosleep, time, NULL);
}

static u8 *map(u64 size) {
    u8 *at = (u8 *)SURE(SYS_mmap, NULL, size, PROT_READ_WRITE, MAP_PRIVATE_ANONYMOUS, -1, 0);

    for (u64 i = 0; i < size; i += PAGE)
        at[i] = 1;
    return at;
}

/* ---- a client ---- */

static u64 ask(i32 server, struct request r) {
    static u8 bytes[4 * PAGE];
    u64 size, got = 0;

    SURE(SYS_write, server, &r, sizeof r);
    SURE(SYS_read, server, &size, sizeof size);
    while (got < size)
        got += (u64)SURE(SYS_read, server, bytes, size - got < sizeof bytes ? size - got : sizeof bytes);
    return got;
}

static void be_client(u32 client, u32 requests) {
    sleep_ms(37 * client);
    for (u32 i = 0; i < requests; i++) {
        i32 server = (i32)SURE(SYS_socket, AF_UNIX, SOCK_STREAM, 0);
        SURE(SYS_connect, server, &where, sizeof where);
        ask(server, (struct request){client, i});
        sleep_ms(200);                  /* the session stays open */
        SURE(SYS_close, server);
        sleep_ms(1000 + 61 * ((client + i) % 7));
    }
    syscall(SYS_exit_group, 0);
}

/* ---- the server ---- */

static void drop(struct answer *a) {
    if (a->size)
        SURE(SYS_munmap, a->bytes, a->size);
    *a = (struct answer){0};
}

static struct answer *find(struct request r) {
    struct answer *a = &cache[(r.client * 7 + r.number) % CACHE];

    if (!a->size) {
        a->size = ANSWER_UNIT * (1 + (r.client * 5 + r.number * 3) % 16);
        a->bytes = map(a->size);
    }
    a->age = 0;
    return a;
}

static void tick(i32 timer) {
    u64 times;

    SURE(SYS_read, timer, &times, sizeof times);
    for (u32 i = 0; i < CACHE; i++)
        if (cache[i].size && (cache[i].age += times) > CACHE_LIFE)
            drop(&cache[i]);
}

static void serve(i32 client) {
    struct request r;

    if (syscall(SYS_read, client, &r, sizeof r) != sizeof r) {
        SURE(SYS_munmap, session[client], SESSION);
        SURE(SYS_close, client);
        return;
    }
    struct answer *a = find(r);
    SURE(SYS_write, client, &a->size, sizeof a->size);
    for (u64 done = 0; done < a->size;)
        done += (u64)SURE(SYS_write, client, a->bytes + done, a->size - done);
    answered++;
    sent += a->size;
}

static void watch(i32 epoll, i32 fd) {
    struct event e = {EPOLLIN, (u64)fd};

    SURE(SYS_epoll_ctl, epoll, EPOLL_CTL_ADD, fd, &e);
}

static void be_server(i32 door, u64 requests) {
    struct { u64 interval[2], first[2]; } period = {{0, TICK_MS * 1000000}, {0, TICK_MS * 1000000}};
    i32 epoll = (i32)SURE(SYS_epoll_create1, 0), timer = (i32)SURE(SYS_timerfd_create, CLOCK_MONOTONIC, 0);
    struct event events[MOST_EVENTS];

    SURE(SYS_timerfd_settime, timer, 0, &period, NULL);
    watch(epoll, door);
    watch(epoll, timer);
    while (answered < requests) {
        i64 count = SURE(SYS_epoll_wait, epoll, events, MOST_EVENTS, -1);
        for (i64 i = 0; i < count; i++) {
            i32 fd = (i32)events[i].data;
            if (fd == timer)
                tick(timer);
            else if (fd != door)
                serve(fd);
            else if ((fd = (i32)SURE(SYS_accept, door, NULL, NULL)) < MOST_FD) {
                session[fd] = map(SESSION);
                watch(epoll, fd);
            }
        }
    }
}

int main(int argc, char **argv) {
    u32 clients = argc > 1 ? (u32)number(argv[1]) : 8, requests = argc > 2 ? (u32)number(argv[2]) : 20;
    i32 door = (i32)SURE(SYS_socket, AF_UNIX, SOCK_STREAM, 0), status;

    if (!clients || !requests || clients > MOST_FD / 2) {
        print("usage: serve [CLIENTS up to %lu [REQUESTS of each]]\n", MOST_FD / 2UL);
        return 2;
    }
    SURE(SYS_bind, door, &where, sizeof where);
    SURE(SYS_listen, door, 16);
    for (u32 i = 0; i < clients; i++)
        if (!SURE(SYS_fork))
            be_client(i, requests);
    be_server(door, (u64)clients * requests);
    for (u32 i = 0; i < clients; i++)
        SURE(SYS_wait4, -1, &status, 0, NULL);
    print("%lu requests of %u clients, %lu KiB of answers\n", answered, clients, sent / 1024);
    return 0;
}
