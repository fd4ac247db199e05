/* Threads: what they share and what is their own, how they end, and the futexes by
 * which they wait for each other. */
#include "linux.h"

#define THREAD (CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM)
#define FUTEX_WAIT 0
#define FUTEX_WAKE 1
#define FUTEX_REQUEUE 3
#define FUTEX_CMP_REQUEUE 4
#define FUTEX_WAKE_OP 5
#define FUTEX_WAIT_BITSET 9
#define FUTEX_WAKE_BITSET 10
#define FUTEX_PRIVATE 128
#define ARCH_SET_FS 0x1002
#define ARCH_GET_FS 0x1003

struct tls { struct tls *self; i64 mine, rest[6]; };

static char stacks[8][4 * PAGE] __attribute__((aligned(16)));
static struct tls areas[8];
static i32 tids[8], parent_tids[8];
static i32 word, other, lock, ready;
static volatile i32 counter, handled_by;
static struct pipe p;
static char buffer[PAGE];

static i64 futex(i32 *at, i32 op, i32 v, const void *timeout, void *at2, i32 v3) {
    return syscall(SYS_futex, at, op, v, timeout, at2, v3);
}

static i32 load(i32 *at) { return __atomic_load_n(at, __ATOMIC_SEQ_CST); }
static void add(i32 *at, i32 n) { __atomic_add_fetch(at, n, __ATOMIC_SEQ_CST); }
static i32 tid(void) { return (i32)syscall(SYS_gettid); }

static i64 start(i32 n, i64 (*run)(void *)) {
    areas[n].self = &areas[n];
    tids[n] = -1;
    return clone_call(THREAD | CLONE_SETTLS | CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID, stacks[n] + sizeof stacks[n],
                      &parent_tids[n], &tids[n], (u64)&areas[n], run, (void *)(i64)n);
}

/* The kernel clears its number and wakes who waits, as between processes. */
static void join(i32 n) {
    while (load(&tids[n]))
        futex(&tids[n], FUTEX_WAIT, -1, NULL, NULL, 0);
}

/* Wait until that many are woken or moved, however late they come to wait. */
static void wake_all(i32 *at, i32 op, i32 n, void *at2) {
    for (i32 done = 0; done < n; syscall(SYS_sched_yield))
        done += op == FUTEX_WAKE ? futex(at, op, n - done, NULL, NULL, 0) : futex(at, op, 0, (void *)8, at2, load(at));
}

static struct tls *self(void) {
    struct tls *t;
    asm volatile("mov %%fs:0, %0" : "=r"(t));
    return t;
}

static i64 shares(void *n) {
    u64 base;

    CHECK(tid() == parent_tids[(i64)n] && tid() != syscall(SYS_getpid) && self() == &areas[(i64)n]);
    CALL(SYS_arch_prctl, ARCH_GET_FS, &base);
    CHECK(base == (u64)self());
    counter = 5;
    closes(p.read);
    CALL(SYS_chdir, "below");
    CALL(SYS_umask, 077);
    handle(SIGUSR1, SIG_IGN, 0, 0);
    print("mask %lx\n", mask(SIG_BLOCK, BIT(SIGUSR2)));
    return 3;
}

static void sharing(void) {
    struct action a;

    print("-- sharing\n");
    make_pipe(&p);
    CALL(SYS_mkdir, "below", 0755);
    mask(SIG_SETMASK, BIT(SIGHUP));
    i64 t = start(0, shares);
    join(0);
    CHECK(t > 0 && t == parent_tids[0] && counter == 5);
    CALL(SYS_read, p.read, buffer, 1);
    CALL(SYS_chdir, "../below");
    CALL(SYS_chdir, "..");
    CALL(SYS_umask, 022);
    CALL(SYS_rt_sigaction, SIGUSR1, NULL, &a, 8);
    CHECK(a.handler == SIG_IGN);
    print("mask %lx\n", mask(SIG_SETMASK, 0));
    CALL(SYS_wait4, -1, NULL, WALL, NULL);      /* a thread is no child */
    while (syscall(SYS_tgkill, syscall(SYS_getpid), t, 0) == 0)
        syscall(SYS_sched_yield);               /* its number is cleared shortly before it is gone */
    CALL(SYS_tgkill, syscall(SYS_getpid), t, 0);
    CALL(SYS_clone, CLONE_THREAD, 0);
    CALL(SYS_clone, CLONE_SIGHAND, 0);
    CALL(SYS_clone, CLONE_THREAD | CLONE_SIGHAND, 0);
    closes(p.write);
}

/* A lock as in every library: 0 free, 1 taken, 2 taken and waited for. */
static void take(void) {
    i32 was = 0;

    if (__atomic_compare_exchange_n(&lock, &was, 1, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
        return;
    while (__atomic_exchange_n(&lock, 2, __ATOMIC_SEQ_CST))
        futex(&lock, FUTEX_WAIT | FUTEX_PRIVATE, 2, NULL, NULL, 0);
}

static void give(void) {
    if (__atomic_exchange_n(&lock, 0, __ATOMIC_SEQ_CST) == 2)
        futex(&lock, FUTEX_WAKE | FUTEX_PRIVATE, 1, NULL, NULL, 0);
}

static i64 counts(void *n) {
    double mine = 0;                            /* in a vector register, over all the switches */

    for (i32 i = 0; i < 1000; i++) {
        take();
        i32 c = counter;
        if (i % 50 == 0)
            syscall(SYS_sched_yield);
        counter = c + 1;
        give();
        mine += 0.5;
        self()->mine++;
    }
    if (mine != 500 || areas[(i64)n].mine != 1000)
        print("thread %ld lost its own\n", (i64)n);
    return 0;
}

static void locking(void) {
    print("-- locking\n");
    counter = 0;
    for (i32 n = 0; n < 6; n++)
        if (start(n, counts) < 0)
            print("not started\n");
    for (i32 n = 0; n < 6; n++)
        join(n);
    print("counted %d\n", counter);
}

static i64 waits(void *n) {
    add(&ready, 1);
    i64 r = futex(&word, FUTEX_WAIT, 0, NULL, NULL, 0);
    if (r)
        print("waited in vain: %ld\n", r);
    add(&ready, -1);
    return (i64)n;
}

static i64 waits_bits(void *n) {
    i64 r = futex(&word, FUTEX_WAIT_BITSET | FUTEX_PRIVATE, 0, NULL, NULL, 2 << (i64)n);
    if (r)
        print("waited in vain: %ld\n", r);
    return 0;
}

/* Four are moved to the other word, one of them woken there and one moved back.  Linux may
 * wake one by mistake, which then waits again where it did at first: so this has several tries. */
static i32 requeues(void) {
    i64 r[4];

    for (i32 n = 0; n < 4; n++)
        start(n, waits);
    wake_all(&word, FUTEX_CMP_REQUEUE, 4, &other);
    r[0] = futex(&word, FUTEX_WAKE, 10, NULL, NULL, 0);
    r[1] = futex(&other, FUTEX_CMP_REQUEUE, 1, (void *)1, &word, other);
    r[2] = futex(&other, FUTEX_WAKE, 10, NULL, NULL, 0);
    r[3] = futex(&word, FUTEX_WAKE, 10, NULL, NULL, 0);
    for (i32 n = 0; n < 4; n++)
        while (load(&tids[n])) {
            futex(&word, FUTEX_WAKE, 10, NULL, NULL, 0);
            futex(&other, FUTEX_WAKE, 10, NULL, NULL, 0);
            syscall(SYS_sched_yield);
        }
    return r[0] == 0 && r[1] == 2 && r[2] == 2 && r[3] == 1;
}

static void waiting(void) {
    struct timespec little = {0, 2000000}, past = {0, 1}, wrong = {0, -1};

    print("-- waiting\n");
    word = 0;
    CALL(SYS_futex, &word, FUTEX_WAIT, 1, NULL);
    CALL(SYS_futex, &word, FUTEX_WAIT | FUTEX_PRIVATE, 1, NULL);
    CALL(SYS_futex, &word, FUTEX_WAIT, 0, &little);
    CALL(SYS_futex, &word, FUTEX_WAIT, 0, &wrong);
    CALL(SYS_futex, &word, FUTEX_WAIT_BITSET, 0, &past, NULL, 1);
    CALL(SYS_futex, &word, FUTEX_WAIT_BITSET | 256, 0, &past, NULL, -1);
    CALL(SYS_futex, &word, FUTEX_WAIT_BITSET, 0, &past, NULL, 0);
    CALL(SYS_futex, &word, FUTEX_WAKE_BITSET, 1, NULL, NULL, 0);
    CALL(SYS_futex, (char *)&word + 1, FUTEX_WAIT, 0, NULL);
    CALL(SYS_futex, 16, FUTEX_WAIT, 0, NULL);
    CALL(SYS_futex, 0xffff888000000000, FUTEX_WAIT, 0, NULL);
    CALL(SYS_futex, &word, 77, 0, NULL);
    CALL(SYS_futex, &word, FUTEX_WAKE, 10, NULL);
    CALL(SYS_futex, &word, FUTEX_CMP_REQUEUE, 1, 1, &other, 5);
    CALL(SYS_futex, &word, FUTEX_REQUEUE, 1, 1, &other, 5);

    ready = 0;
    for (i32 n = 0; n < 3; n++)
        start(n, waits);
    wake_all(&word, FUTEX_WAKE, 3, NULL);
    for (i32 n = 0; n < 3; n++)
        join(n);
    print("left %d\n", ready);
    i32 tries = 0;
    while (tries < 8 && !requeues())
        tries++;
    CHECK(tries < 8);
    for (i32 n = 0; n < 2; n++)
        start(n, waits_bits);
    for (i32 n = 2; n--; join(n))
        while (syscall(SYS_futex, &word, FUTEX_WAKE_BITSET | FUTEX_PRIVATE, 10, NULL, NULL, 2 << n) == 0) {
            if (syscall(SYS_futex, &word, FUTEX_WAKE_BITSET | FUTEX_PRIVATE, 10, NULL, NULL, 1 | 16))
                print("woken by another's bits\n");
            syscall(SYS_sched_yield);
        }
    /* other += 7, then wake at word, and at other if it was above 3 */
    other = 4;
    CALL(SYS_futex, &word, FUTEX_WAKE_OP, 1, 1, &other, 1 << 28 | 4 << 24 | 7 << 12 | 3);
    print("other %d\n", other);

    i32 *shared = (i32 *)syscall(SYS_mmap, NULL, PAGE, R_W, SHARED_ANONYMOUS, -1, 0);
    if (fork() == 0)
        quit((i32)futex(shared, FUTEX_WAIT, 0, NULL, NULL, 0) + 5);
    wake_all(shared, FUTEX_WAKE, 1, NULL);
    reap("of another process", -1);
}

struct robust { struct robust *next; i64 offset; struct robust *pending; };
static struct { struct robust *next; i32 word; } item, item2, item3;

static i64 dies(void *n) {
    static struct robust head;

    head = (struct robust){(void *)&item, (char *)&item.word - (char *)&item, (void *)&item3};
    item.next = (void *)&item2, item2.next = &head;
    item.word = tid() | (i32)0x80000000, item2.word = 1, item3.word = tid();
    CALL(SYS_set_robust_list, &head, sizeof head);
    CALL(SYS_set_robust_list, &head, 10);
    struct robust *list = NULL;
    u64 size = 0;
    CALL(SYS_get_robust_list, 0, &list, &size);
    CHECK(list == &head && size == sizeof head);
    (void)n;
    return 0;
}

/* A process, too, leaves a lock behind: in memory that it shares. */
static void process_dies(void) {
    static struct robust head;
    struct { struct robust *next; volatile i32 word; } *lock = (void *)syscall(SYS_mmap, 0, PAGE, R_W, SHARED_ANONYMOUS, -1, 0);
    struct robust *list = NULL;
    u64 size;

    if (fork() == 0) {
        CALL(SYS_get_robust_list, 0, &list, &size);
        CHECK(list == NULL);
        head = (struct robust){(void *)lock, (char *)&lock->word - (char *)lock, NULL};
        lock->next = &head;
        lock->word = (i32)syscall(SYS_getpid) | (i32)0x80000000;
        syscall(SYS_set_robust_list, &head, sizeof head);
        quit(0);
    }
    reap("with a lock", -1);
    print("its word %x\n", (u32)lock->word);
    CALL(SYS_get_robust_list, 0x3fffffff, &list, &size);
    CALL(SYS_get_robust_list, 0, 8, &size);
    CALL(SYS_get_robust_list, 0, &list, NULL);
}

static void robust(void) {
    print("-- robust\n");
    start(0, dies);
    join(0);
    print("taken %x, another's %x, pending %x\n", (u32)item.word, (u32)item2.word, (u32)item3.word);
    process_dies();
}

static void on_signal(i32 signal) { handled_by = tid(), counter = signal; add(&ready, 1); }

static i64 gets_signal(void *n) {
    (void)n;
    mask(SIG_UNBLOCK, BIT(SIGUSR1));
    add(&ready, 1);
    while (load(&ready) < 2)
        syscall(SYS_sched_yield);
    while (load(&ready) < 3)
        syscall(SYS_sched_yield);
    return 0;
}

static void signals(void) {
    u64 pending = 0;

    print("-- signals\n");
    handle(SIGUSR1, (void *)on_signal, 0, 0);
    handle(SIGUSR2, (void *)on_signal, 0, 0);
    mask(SIG_BLOCK, BIT(SIGUSR1) | BIT(SIGUSR2));
    ready = 0;
    i64 t = start(0, gets_signal);
    while (load(&ready) < 1)
        syscall(SYS_sched_yield);
    CALL(SYS_kill, syscall(SYS_getpid), SIGUSR1);       /* goes to the one that lets it in */
    while (load(&ready) < 2)
        syscall(SYS_sched_yield);
    CHECK(handled_by == t);
    CALL(SYS_tgkill, syscall(SYS_getpid), t, SIGUSR2);  /* is pending there alone */
    CALL(SYS_rt_sigpending, &pending, 8);
    print("pending %lx\n", pending);
    CALL(SYS_tgkill, syscall(SYS_getpid), t, SIGUSR1);
    join(0);
    CHECK(handled_by == t && counter == SIGUSR1);
    mask(SIG_SETMASK, 0);
    CHECK(counter == SIGUSR1);
}

static i64 spins(void *n) {
    add(&ready, 1);
    for (;;)
        counter += (i32)(i64)n;
}
static i64 reads(void *n) { add(&ready, 1); return syscall(SYS_read, p.read, buffer, 1 + (i64)n); }
static i64 sleeps(void *n) { add(&ready, 1); return futex(&word, FUTEX_WAIT, 0, NULL, n, 0); }
static i64 exits(void *n) {
    (void)n;
    while (load(&ready) < 3)
        syscall(SYS_sched_yield);
    quit(9);
}
static i64 becomes(void *n) {
    char pid[24], *args[] = {"name", decimal(pid, (u64)syscall(SYS_getpid)), NULL}, *none[] = {NULL};

    (void)n;
    while (load(&ready) < 3)
        syscall(SYS_sched_yield);
    return syscall(SYS_execve, "/proc/self/exe", args, none);
}
static i64 forks(void *n) {
    i64 pid = fork();

    (void)n;
    if (pid == 0) {
        CHECK(tid() == syscall(SYS_getpid) && self() == &areas[3]);
        quit(6);
    }
    return reap("child of a thread", pid);
}
static i64 remains(void *n) {
    (void)n;
    awaits(p.read);
    print("the first is gone\n");
    return 4;
}

static i64 microseconds_of(i32 clock) {
    struct timespec t;

    syscall(SYS_clock_gettime, clock, &t);
    return t.s * 1000000 + t.ns / 1000;
}

static i64 runs(void *n) {
    while (microseconds_of(3) < 3000)
        ;
    return (i64)n;
}

/* A thread's own time is part of its process's. */
static void times(void) {
    i64 usage[18];

    print("-- times\n");
    i64 before = microseconds_of(2) - microseconds_of(3);
    start(0, runs);
    join(0);
    CHECK(microseconds_of(2) - microseconds_of(3) >= before + 2900);
    syscall(SYS_getrusage, 1, usage);
    CHECK(usage[0] * 1000000 + usage[1] + usage[2] * 1000000 + usage[3] <= microseconds_of(2) - before - 2900);
}

/* What any thread does to all. */
static void endings(void) {
    i64 (*const last[])(void *) = {exits, becomes};

    print("-- endings\n");
    for (u64 i = 0; i < COUNT(last); i++) {
        make_pipe(&p);
        i64 pid = fork();
        if (pid == 0) {
            ready = 0;
            start(0, spins), start(1, reads), start(2, sleeps), start(3, last[i]);
            for (;;)
                syscall(SYS_pause);
        }
        reap(i ? "becomes" : "exits", pid);
        closes(p.read), closes(p.write);
    }
    if (fork() == 0) {
        ready = 0;
        start(0, spins), start(1, reads), start(2, sleeps);
        while (load(&ready) < 3)
            syscall(SYS_sched_yield);
        *(volatile i32 *)16 = 1;
    }
    reap("faults", -1);
    start(3, forks);
    join(3);
    make_pipe(&p);
    i64 pid = fork();
    if (pid == 0) {                             /* the first thread may end before the others */
        start(0, remains);
        syscall(SYS_exit, 4);
    }
    nap(2);
    i32 status;
    CALL(SYS_wait4, pid, &status, WNOHANG, NULL);
    passes(p.write);
    reap("all", pid);
}

int main(int argc, char **argv) {
    if (argc > 1) {
        CHECK(syscall(SYS_getpid) == (i64)number(argv[1]) && tid() == syscall(SYS_getpid));
        return 8;
    }
    apart();
    sharing();
    locking();
    waiting();
    robust();
    signals();
    times();
    endings();
    return 42;
}
