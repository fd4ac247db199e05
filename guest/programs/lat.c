/* lat [-e] [OPERATION [TIMES]]: what an operation costs in cycles of the time stamp counter, in the manner of lmbench.
 *
 *   one turn to warm up │ RDTSC │ TIMES turns │ RDTSC        the difference, divided by TIMES: a mean
 *
 * Everything runs on one processor.  On Linux the cycles are real.  The emulator's are costs of events, and one for each
 * instruction while a timer is set: so one is, far away.  -e does without, and only events cost; but where two processes can
 * run, the kernel sets a timer for their slices. */
#include "program.h"

#define PAGE 4096UL
#define PROT_READ 1
#define PROT_READ_WRITE 3
#define MAP_PRIVATE_ANONYMOUS 0x22
#define MADV_DONTNEED 4
#define FAR_AWAY 100000                 /* s */
#define LONGER_THAN_A_SLICE 50000000    /* ns */
#define SIGUSR1 10
#define SIGSEGV 11
#define SA_RESTORER 0x04000000
#define CLONE_FOR_A_THREAD 0x250f00     /* VM FS FILES SIGHAND THREAD SYSVSEM, CHILD_CLEARTID */
#define WINDOW 256UL                    /* pages that are mapped at a time */
#define MAPPED 16UL                     /* pages of one turn of "mmap" */

struct action { void (*handler)(i32); u64 flags; void (*restorer)(void); u64 mask; };
struct operation { const char *name, *title; u64 (*run)(u64), times; const char *note; };

void restore(void);
i64 start_thread(u64 flags, void *stack, i32 *parent_tid, i32 *child_tid);
asm("restore:       mov $15, %eax; syscall\n"
    "start_thread:  mov %rcx, %r10; mov $56, %eax; syscall\n"
    "               test %eax, %eax; jnz 1f; xor %edi, %edi; mov $60, %eax; syscall\n" /* the thread only ends */
    "1:             ret");

static const char *running;
static int events_only;

static u64 cycles(void) {
    u32 low, high;

    asm volatile("rdtsc" : "=a"(low), "=d"(high) :: "memory");
    return (u64)high << 32 | low;
}

#define SURE(...) sure(#__VA_ARGS__, syscall(__VA_ARGS__))
static i64 sure(const char *call, i64 result) {
    if (result < 0) {
        print("lat: %s: %s: error %ld\n", running, call, -result);
        syscall(SYS_exit_group, 1);
    }
    return result;
}

static void wait_for(i64 child) {
    i32 status = 0;

    SURE(SYS_wait4, child, &status, 0, NULL);
    if (status)
        sure("the child's status", -status);
}

static u64 null_call(u64 n) {
    u64 start = cycles();

    while (n--)
        syscall(SYS_getppid);
    return cycles() - start;
}

static u64 fork_exit(u64 n) {
    u64 start = cycles();

    while (n--) {
        i64 child = SURE(SYS_fork);
        if (!child)
            syscall(SYS_exit_group, 0);
        wait_for(child);
    }
    return cycles() - start;
}

static u64 fork_exec(u64 n) {
    const char *argv[] = {"lat", "exit", NULL}, *envp[] = {NULL};
    u64 start = cycles();

    while (n--) {
        i64 child = SURE(SYS_fork);
        if (!child)
            SURE(SYS_execve, "/proc/self/exe", argv, envp);
        wait_for(child);
    }
    return cycles() - start;
}

struct channel { i32 out, in; };

static void close_both(struct channel c) {
    SURE(SYS_close, c.out);
    SURE(SYS_close, c.in);
}

static void pass(i32 from, i32 to) {
    u8 byte = 0;

    SURE(SYS_read, from, &byte, 1);
    SURE(SYS_write, to, &byte, 1);
}

static void kick(i32 to) { SURE(SYS_write, to, "", 1); }

/* There and back once before the time counts: the child then has its own copies of the pages that it writes. */
static u64 ping_pong(u64 n) {
    struct channel there, back;
    u8 byte;

    SURE(SYS_pipe, &there);
    SURE(SYS_pipe, &back);
    i64 child = SURE(SYS_fork);
    if (!child) {
        for (u64 i = 0; i < n + 1; i++)
            pass(there.out, back.in);
        syscall(SYS_exit_group, 0);
    }
    kick(there.in);
    SURE(SYS_read, back.out, &byte, 1);
    u64 start = cycles();
    while (n--) {
        kick(there.in);
        SURE(SYS_read, back.out, &byte, 1);
    }
    u64 spent = cycles() - start;
    wait_for(child);
    close_both(there);
    close_both(back);
    return spent;
}

static u64 own_pipe(u64 n) {
    struct channel p;
    u8 byte;

    SURE(SYS_pipe, &p);
    u64 start = cycles();
    while (n--) {
        kick(p.in);
        SURE(SYS_read, p.out, &byte, 1);
    }
    u64 spent = cycles() - start;
    close_both(p);
    return spent;
}

/* A round trip is two switches, and as many calls as two bytes through a pipe of one's own; both with a timer set. */
static u64 context_switch(u64 n) {
    syscall(SYS_alarm, FAR_AWAY);
    u64 pair = ping_pong(n), calls = 2 * own_pipe(n);
    if (events_only)
        syscall(SYS_alarm, 0);
    return pair > calls ? (pair - calls) / 2 : 0;
}

static u8 *map(u64 pages) {
    return (u8 *)SURE(SYS_mmap, NULL, pages * PAGE, PROT_READ_WRITE, MAP_PRIVATE_ANONYMOUS, -1, 0);
}

static void touch(u8 *at, u64 pages) {
    for (u64 i = 0; i < pages; i++)
        *(volatile u8 *)(at + i * PAGE) = 1;
}

/* Each window is new: so are its page tables. */
static u64 cold_fault(u64 n) {
    u64 spent = 0;

    for (u64 pages; n; n -= pages) {
        pages = n < WINDOW ? n : WINDOW;
        u8 *at = map(pages);
        u64 start = cycles();
        touch(at, pages);
        spent += cycles() - start;
        SURE(SYS_munmap, at, pages * PAGE);
    }
    return spent;
}

static u64 warm_fault(u64 n) {
    u64 spent = 0;
    u8 *at = map(WINDOW);

    touch(at, WINDOW);
    for (u64 pages; n; n -= pages) {
        pages = n < WINDOW ? n : WINDOW;
        SURE(SYS_madvise, at, WINDOW * PAGE, MADV_DONTNEED);
        u64 start = cycles();
        touch(at, pages);
        spent += cycles() - start;
    }
    SURE(SYS_munmap, at, WINDOW * PAGE);
    return spent;
}

static u64 map_unmap(u64 n) {
    u64 start = cycles();

    while (n--) {
        u8 *at = map(MAPPED);
        touch(at, MAPPED);
        SURE(SYS_munmap, at, MAPPED * PAGE);
    }
    return cycles() - start;
}

static volatile u64 handled;
static u8 *guarded;

static void count(i32 signal) { handled += signal == SIGUSR1; }

static void unlock(i32 signal) {
    (void)signal;
    handled++;
    SURE(SYS_mprotect, guarded, PAGE, PROT_READ_WRITE);
}

static void handle(i32 signal, void (*handler)(i32)) {
    struct action a = {handler, SA_RESTORER, restore, 0};

    SURE(SYS_rt_sigaction, signal, &a, NULL, 8);
}

static void check_handled(u64 n) {
    if (handled != n)
        sure("signals that came", -(i64)handled - 1);
    handled = 0;
}

static u64 install(u64 n) {
    u64 start = cycles();

    while (n--)
        handle(SIGUSR1, count);
    return cycles() - start;
}

static u64 signal_self(u64 n) {
    i64 me = SURE(SYS_getpid);

    handle(SIGUSR1, count);
    u64 start = cycles();
    for (u64 i = 0; i < n; i++)
        syscall(SYS_kill, me, SIGUSR1);
    u64 spent = cycles() - start;
    check_handled(n);
    return spent;
}

static u64 protection(u64 n) {
    guarded = map(1);
    touch(guarded, 1);
    handle(SIGSEGV, unlock);
    u64 start = cycles();
    for (u64 i = 0; i < n; i++) {
        SURE(SYS_mprotect, guarded, PAGE, PROT_READ);
        touch(guarded, 1);
    }
    u64 spent = cycles() - start;
    check_handled(n);
    handle(SIGSEGV, NULL);
    SURE(SYS_munmap, guarded, PAGE);
    return spent;
}

static u64 thread(u64 n) {
    static u8 stack[PAGE] __attribute__((aligned(16)));
    static volatile i32 tid;
    u64 start = cycles();

    while (n--) {
        tid = 1;
        sure("clone", start_thread(CLONE_FOR_A_THREAD, stack + sizeof stack, NULL, (i32 *)&tid));
        while (tid)                     /* the kernel clears it and wakes us when the thread has ended */
            syscall(SYS_futex, &tid, 0, 1, NULL);
    }
    return cycles() - start;
}

static const struct operation operations[] = {
    {"null", "null system call", null_call, 10000, "getppid"},
    {"fork", "fork+exit", fork_exit, 100, "fork; the child exits, the parent waits"},
    {"exec", "fork+exec+exit", fork_exec, 50, "the same, but the child becomes `lat exit` first"},
    {"thread", "thread+exit", thread, 200, "clone; the thread ends, a futex tells of it"},
    {"pipe", "pipe round trip", ping_pong, 1000, "one byte to another process and back"},
    {"self", "pipe to oneself", own_pipe, 1000, "write and read one byte, with nobody else there"},
    {"switch", "context switch", context_switch, 1000, "half of (pipe - 2 self)"},
    {"fault", "page fault, cold", cold_fault, 1024, "the first write to a page of a new mapping"},
    {"refault", "page fault, warm", warm_fault, 1024, "write to a page again after MADV_DONTNEED: its tables stand"},
    {"mmap", "map, touch, unmap", map_unmap, 100, "16 pages at a time"},
    {"install", "signal handler installed", install, 1000, "rt_sigaction"},
    {"signal", "signal handled", signal_self, 1000, "kill oneself; handler and sigreturn"},
    {"prot", "protection fault handled", protection, 500, "mprotect, write, SIGSEGV handler that calls mprotect"},
};

static u64 measure(const struct operation *o, u64 times) {
    struct { i64 s, ns; } rest = {0, LONGER_THAN_A_SLICE};

    running = o->name;
    o->run(1);
    if (events_only)
        syscall(SYS_nanosleep, &rest, NULL);    /* then no timer of the kernel's is left */
    return (o->run(times) + times / 2) / times;
}

/* As many blanks as stand between a text and the end of its column. */
static const char *blanks(u64 used, u64 width) {
    static const char all[] = "                              ";

    return all + sizeof all - 1 - (used < width ? width - used : 0);
}

static u64 digits(u64 value) {
    u64 n = 1;

    while (value /= 10)
        n++;
    return n;
}

static void table(void) {
    print("operation  cycles each   times\n");
    for (u64 i = 0; i < COUNT(operations); i++) {
        const struct operation *o = &operations[i];
        u64 each = measure(o, o->times);
        print("%s%s%s%lu%s%lu  %s\n", o->name, blanks(strlen(o->name), 9), blanks(digits(each), 13), each,
              blanks(digits(o->times), 8), o->times, o->note);
    }
}

static void stay_on_one_processor(void) {
    u64 mask[16] = {0};

    syscall(SYS_sched_getaffinity, 0, sizeof mask, mask);
    for (u64 i = 0, found = 0; i < COUNT(mask); i++) {
        mask[i] = found ? 0 : mask[i] & -mask[i];
        found |= mask[i];
    }
    syscall(SYS_sched_setaffinity, 0, sizeof mask, mask);
}

static int usage(void) {
    print("usage: lat [-e] [OPERATION [TIMES]]; without an operation, all of them\n");
    for (u64 i = 0; i < COUNT(operations); i++)
        print("  %s%s%s: %s\n", operations[i].name, blanks(strlen(operations[i].name), 9), operations[i].title,
              operations[i].note);
    return 2;
}

int main(int argc, char **argv) {
    const char *name = argc > 1 ? argv[1] : NULL;

    if (name && !strcmp(name, "exit"))
        return 0;
    stay_on_one_processor();
    if (name && !strcmp(name, "-e")) {
        events_only = 1;
        argc--, argv++;
        name = argc > 1 ? argv[1] : NULL;
    } else {
        syscall(SYS_alarm, FAR_AWAY);
    }
    if (!name) {
        table();
        return 0;
    }
    for (u64 i = 0; i < COUNT(operations); i++) {
        const struct operation *o = &operations[i];
        u64 times = argc > 2 ? number(argv[2]) : o->times;
        if (strcmp(name, o->name) || !times || argc > 3)
            continue;
        print("%s: %lu cycles each (%lu times)\n", o->title, measure(o, times), times);
        return 0;
    }
    return usage();
}
