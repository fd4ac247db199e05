/* POSIX timers: once and again, absolute, with signals for a process and for a thread, and how often one has rung unheard. */
#include "linux.h"

#define SYS_timer_create 222
#define SYS_timer_settime 223
#define SYS_timer_gettime 224
#define SYS_timer_getoverrun 225
#define SYS_timer_delete 226
#define CLOCK_REALTIME 0
#define CLOCK_MONOTONIC 1
#define ABSTIME 1
#define SIGEV_SIGNAL 0
#define SIGEV_NONE 1
#define SIGEV_THREAD_ID 4
#define MS 1000000L

struct event { u64 value; i32 signal, notify, tid, rest[11]; };
struct spec { struct timespec every, value; };

static volatile i32 rang;
static struct siginfo last;

static void on_ring(i32 signal, struct siginfo *info, void *context) {
    (void)signal, (void)context;
    last = *info;
    rang++;
}

static i64 arm(i32 timer, i64 after_ns, i64 every_ns) {
    struct spec s = {{every_ns / 1000000000, every_ns % 1000000000}, {after_ns / 1000000000, after_ns % 1000000000}};

    return syscall(SYS_timer_settime, timer, 0, &s, NULL);
}

static void wait_for(i32 times) {
    while (rang < times)
        nap(1);
}

static void making(void) {
    struct event e = {7, SIGUSR1, SIGEV_SIGNAL, 0, {0}};
    i32 first = -1, second = -1;

    print("-- making\n");
    CALL(SYS_timer_create, CLOCK_MONOTONIC, &e, &first);
    CALL(SYS_timer_create, CLOCK_REALTIME, NULL, &second);
    CHECK(first >= 0 && second > first);
    CALL(SYS_timer_create, 99, NULL, &second);
    CALL(SYS_timer_create, CLOCK_MONOTONIC, 8, &second);
    CALL(SYS_timer_create, CLOCK_MONOTONIC, NULL, 8);
    e.signal = 65;
    CALL(SYS_timer_create, CLOCK_MONOTONIC, &e, &second);
    e.signal = 0;
    CALL(SYS_timer_create, CLOCK_MONOTONIC, &e, &second);
    e.signal = SIGUSR1, e.notify = 77;
    CALL(SYS_timer_create, CLOCK_MONOTONIC, &e, &second);
    e.notify = SIGEV_THREAD_ID, e.tid = 999999;
    CALL(SYS_timer_create, CLOCK_MONOTONIC, &e, &second);
    CALL(SYS_timer_gettime, 999, &e);
    CALL(SYS_timer_getoverrun, 999);
    CALL(SYS_timer_delete, 999);
    CALL(SYS_timer_settime, first, 0, NULL, NULL);
    CALL(SYS_timer_settime, first, 0, 8, NULL);
    RESULT(arm(999, 1, 0));
    struct spec s = {{0, 0}, {0, 1000000000}};
    CALL(SYS_timer_settime, first, 0, &s, NULL);
    s.value = (struct timespec){-1, 0};
    CALL(SYS_timer_settime, first, 0, &s, NULL);
    CALL(SYS_timer_gettime, first, &s);
    print("%ld %ld %ld %ld\n", s.every.s, s.every.ns, s.value.s, s.value.ns);
    CALL(SYS_timer_delete, first);
    CALL(SYS_timer_delete, first);
    for (i32 i = 0; i < 64; i++)
        syscall(SYS_timer_delete, i);
}

static void once(void) {
    struct event e = {0x1234567812345678, SIGUSR1, SIGEV_SIGNAL, 0, {0}};
    i32 timer;
    struct spec s;

    print("-- once\n");
    handle(SIGUSR1, on_ring, SA_SIGINFO, 0);
    syscall(SYS_timer_create, CLOCK_MONOTONIC, &e, &timer);
    i64 before = microseconds();
    RESULT(arm(timer, 20 * MS, 0));
    CALL(SYS_timer_gettime, timer, &s);
    CHECK(s.value.s == 0 && s.value.ns > 0 && s.value.ns <= 20 * MS && !s.every.ns);
    wait_for(1);
    CHECK(microseconds() - before >= 20000);
    print("signal %d code %d value %lx overrun %u, timer %s\n", last.signo, last.code, last.value, last.uid, last.pid == timer ? "own" : "other");
    CALL(SYS_timer_getoverrun, timer);
    CALL(SYS_timer_gettime, timer, &s);
    print("%ld %ld\n", s.value.s, s.value.ns);
    RESULT(arm(timer, 10000 * MS, 0));
    struct spec off = {{0, 0}, {0, 0}};
    CALL(SYS_timer_settime, timer, 0, &off, &s);
    CHECK(s.value.s == 9 && s.value.ns > 0);
    struct timespec now;
    syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &now);
    s = (struct spec){{0, 0}, {now.s, now.ns}};
    CALL(SYS_timer_settime, timer, ABSTIME, &s, NULL);  /* over already */
    wait_for(2);
    CALL(SYS_timer_delete, timer);
    e.notify = SIGEV_NONE;
    syscall(SYS_timer_create, CLOCK_REALTIME, &e, &timer);
    RESULT(arm(timer, 5 * MS, 0));
    CALL(SYS_timer_gettime, timer, &s);
    CHECK(s.value.ns > 0);
    nap(10);
    CALL(SYS_timer_gettime, timer, &s);
    print("%ld, rang %d times\n", s.value.ns, rang);
    CALL(SYS_timer_delete, timer);
}

static void again(void) {
    struct event e = {5, SIGRTMIN, SIGEV_SIGNAL, 0, {0}};
    struct spec s;
    i32 timer;

    print("-- again\n");
    rang = 0;
    handle(SIGRTMIN, on_ring, SA_SIGINFO, 0);
    syscall(SYS_timer_create, CLOCK_MONOTONIC, &e, &timer);
    RESULT(arm(timer, 5 * MS, 5 * MS));
    wait_for(3);
    CALL(SYS_timer_gettime, timer, &s);
    CHECK(s.every.ns == 5 * MS && s.value.ns > 0 && s.value.ns <= 5 * MS);
    mask(SIG_BLOCK, BIT(SIGRTMIN));
    nap(60);
    i32 before = rang;
    mask(SIG_UNBLOCK, BIT(SIGRTMIN));                   /* one signal for all that was missed */
    CHECK(rang == before + 1);
    CHECK(last.uid >= 5 && (i32)last.uid == (i32)syscall(SYS_timer_getoverrun, timer));
    RESULT(arm(timer, 0, 5 * MS));                      /* an interval alone sets nothing */
    CALL(SYS_timer_gettime, timer, &s);
    print("%ld %ld\n", s.value.ns, s.every.ns);
    before = rang;
    nap(20);
    CHECK(rang == before);
    handle(SIGRTMIN, SIG_IGN, 0, 0);
    RESULT(arm(timer, MS, MS));                         /* ignored, as often as it rings */
    nap(10);
    handle(SIGRTMIN, on_ring, SA_SIGINFO, 0);
    wait_for(before + 1);
    CALL(SYS_timer_delete, timer);
}

static void others(void) {
    struct event e = {9, SIGUSR2, SIGEV_THREAD_ID, (i32)syscall(SYS_gettid), {0}};
    i32 timer;

    print("-- others\n");
    rang = 0;
    handle(SIGUSR2, on_ring, SA_SIGINFO, 0);
    syscall(SYS_timer_create, CLOCK_MONOTONIC, &e, &timer);
    RESULT(arm(timer, MS, 0));
    wait_for(1);
    print("signal %d value %lu\n", last.signo, last.value);
    i64 pid = fork();
    if (pid == 0) {                                     /* a child has none of them */
        struct spec s;
        CALL(SYS_timer_gettime, timer, &s);
        quit(0);
    }
    reap("child", pid);
    u64 set = BIT(SIGUSR2);
    struct timespec limit = {5, 0};
    mask(SIG_BLOCK, set);
    RESULT(arm(timer, MS, MS));
    CALL(SYS_rt_sigtimedwait, &set, &last, &limit, 8);
    print("code %d value %lu\n", last.code, last.value);
    syscall(SYS_timer_delete, timer);
}

int main(int argc, char **argv) {
    (void)argc, (void)argv;
    apart();
    making();
    once();
    again();
    others();
    return 42;
}
