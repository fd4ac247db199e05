/* Six hundred threads at once, and as many processes as a shell would start. */
#include "linux.h"

#define THREADS 600
#define PROCESSES 120
#define THREAD (CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM)
#define FUTEX_WAIT 0
#define FUTEX_WAKE 1
#define STACK 2048

static char stacks[THREADS][STACK] __attribute__((aligned(16)));
static i32 tids[THREADS], go, there, left;

static i64 wait(void *unused) {
    (void)unused;
    __atomic_add_fetch(&there, 1, __ATOMIC_SEQ_CST);
    while (!__atomic_load_n(&go, __ATOMIC_SEQ_CST))
        syscall(SYS_futex, &go, FUTEX_WAIT, 0, NULL, NULL, 0);
    __atomic_add_fetch(&left, 1, __ATOMIC_SEQ_CST);
    return 0;
}

static i32 distinct(i32 count) {
    i32 doubles = 0;

    for (i32 i = 1; i < count; i++)
        doubles += tids[i] <= tids[i - 1];              /* numbers go up until they wrap around */
    return doubles <= 1;
}

static void threads(void) {
    i32 started = 0;

    print("-- threads\n");
    for (i32 i = 0; i < THREADS; i++) {
        i64 tid = clone_call(THREAD | CLONE_CHILD_CLEARTID | CLONE_PARENT_SETTID, stacks[i] + STACK, &tids[i], &tids[i], 0, wait, NULL);
        started += tid > 0;
    }
    print("%d started\n", started);
    while (__atomic_load_n(&there, __ATOMIC_SEQ_CST) < started)
        syscall(SYS_sched_yield);
    CHECK(distinct(THREADS));
    __atomic_store_n(&go, 1, __ATOMIC_SEQ_CST);
    CHECK(syscall(SYS_futex, &go, FUTEX_WAKE, 0x7fffffff, NULL, NULL, 0) <= started);
    for (i32 i = 0, tid; i < THREADS; i++)
        while ((tid = __atomic_load_n(&tids[i], __ATOMIC_SEQ_CST)))
            syscall(SYS_futex, &tids[i], FUTEX_WAIT, tid, NULL, NULL, 0);
    print("%d came, %d left\n", there, left);
}

static void processes(void) {
    struct pipe p;
    i32 status, ended = 0;

    print("-- processes\n");
    make_pipe(&p);
    for (i32 i = 0; i < PROCESSES; i++)
        if (fork() == 0) {
            closes(p.write);
            awaits(p.read);                             /* until the parent closes the other end */
            quit(i & 7);
        }
    closes(p.write);
    for (i32 i = 0; i < PROCESSES; i++)
        ended += syscall(SYS_wait4, -1, &status, 0, NULL) > 0 ? status >> 8 : 100;
    print("%d\n", ended);
}

/* Whoever waits for a lock that is free only around system calls gets it in the end. */
static i32 lock = 1, stop, rounds;
static char waiter[4 * PAGE] __attribute__((aligned(16)));
static i32 waiter_tid;

static i64 wants(void *unused) {
    i32 none = 0;

    (void)unused;
    while (!__atomic_compare_exchange_n(&lock, &none, 1, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) {
        none = 0;
        syscall(SYS_futex, &lock, FUTEX_WAIT, 1, NULL, NULL, 0);
    }
    __atomic_store_n(&stop, 1, __ATOMIC_SEQ_CST);
    __atomic_store_n(&lock, 0, __ATOMIC_SEQ_CST);
    return 0;
}

static void locks(void) {
    print("-- locks\n");
    clone_call(THREAD | CLONE_CHILD_CLEARTID | CLONE_PARENT_SETTID, waiter + sizeof waiter, &waiter_tid, &waiter_tid, 0, wants, NULL);
    for (rounds = 0; !__atomic_load_n(&stop, __ATOMIC_SEQ_CST); rounds++) {
        for (volatile i32 i = 0; i < 50000; i++)
            ;
        __atomic_store_n(&lock, 0, __ATOMIC_SEQ_CST);
        syscall(SYS_futex, &lock, FUTEX_WAKE, 1, NULL, NULL, 0);
        syscall(SYS_getppid);
        i32 none = 0;
        if (!__atomic_compare_exchange_n(&lock, &none, 1, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
            syscall(SYS_sched_yield);
    }
    CHECK(rounds < 5000);
}

int main(int argc, char **argv) {
    (void)argc, (void)argv;
    apart();
    threads();
    processes();
    locks();
    return 42;
}
