/* lat [-e] [OPERATION [TIMES]]: what an operation costs in cycles of the time stamp counter, in the manner of lmbench.
 *
 *   one turn to warm up │ RDTSC │ TIMES turns │ RDTSC        the difference, divided by TIMES: a mean
 *
 * Everything runs on one processor.  On Linux the cycles are real.  The emulator's are costs of events, and one for each
 * instruction while a timer is set: so one is, far away.  -e does without, and only events cost; but where two processes can
 * run, the kernel sets a timer for their slices. */
#include "lat.h"

#define FAR_AWAY 100000                 /* s */
#define LONGER_THAN_A_SLICE 50000000    /* ns */

struct row { const char *name, *title; operation *run; u64 times; const char *note; };

static const char *running;
static int events_only;

u64 cycles(void) {
    u32 low, high;

    asm volatile("rdtsc" : "=a"(low), "=d"(high) :: "memory");
    return (u64)high << 32 | low;
}

i64 sure(const char *call, i64 result) {
    if (result < 0) {
        print("lat: %s: %s: error %ld\n", running, call, -result);
        syscall(SYS_exit_group, 1);
    }
    return result;
}

void set_far_alarm(void) { syscall(SYS_alarm, FAR_AWAY); }

void no_alarm_with_e(void) {
    if (events_only)
        syscall(SYS_alarm, 0);
}

static const struct row operations[] = {
    {"null", "null system call", null_call, 10000, "getppid"},
    {"read", "read", read_byte, 1000, "one byte of /dev/zero"},
    {"write", "write", write_byte, 1000, "one byte to /dev/null"},
    {"stat", "stat", stat_file, 500, "of /dev/null"},
    {"open", "open+close", open_close, 500, "of /dev/null"},
    {"select", "select", select_many, 50, "of 100 descriptors, none of them ready"},
    {"fork", "fork+exit", fork_exit, 100, "fork; the child exits, the parent waits"},
    {"exec", "fork+exec+exit", fork_exec, 50, "the same, but the child becomes `lat exit` first"},
    {"sh", "fork+exec+shell", fork_shell, 10, "the child becomes `lat shell`, whose child becomes `lat exit`"},
    {"thread", "thread+exit", thread, 200, "clone; the thread ends, a futex tells of it"},
    {"pipe", "pipe round trip", ping_pong, 1000, "one byte to another process and back"},
    {"unix", "socket round trip", socket_pair, 300, "the same through a pair of AF_UNIX sockets"},
    {"self", "pipe to oneself", own_pipe, 1000, "write and read one byte, with nobody else there"},
    {"switch", "context switch", context_switch, 1000, "half of (pipe - 2 self)"},
    {"cold", "page fault, memory never used", cold_fault, 512, "the first write to a page, and the first use of its memory"},
    {"fault", "page fault, new tables", new_tables, 1024, "the first write to a page of a new mapping"},
    {"refault", "page fault, warm", warm_fault, 1024, "write to a page again after MADV_DONTNEED: its tables stand"},
    {"filefault", "page fault, file", file_fault, 512, "the first read of a page of a mapped file"},
    {"mmap", "map, touch, unmap", map_unmap, 100, "16 pages at a time"},
    {"install", "signal handler installed", install, 1000, "rt_sigaction"},
    {"signal", "signal handled", signal_self, 1000, "kill oneself; handler and sigreturn"},
    {"prot", "protection fault handled", protection, 500, "mprotect, write, SIGSEGV handler that calls mprotect"},
    {"sleep", "sleep", nap, 50, "nanosleep of 0.1 ms, which is in it"},
};

static u64 measure(const struct row *o, u64 times) {
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
        const struct row *o = &operations[i];
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
    if (name && !strcmp(name, "shell"))
        return shell();
    stay_on_one_processor();
    if (name && !strcmp(name, "-e")) {
        events_only = 1;
        argc--, argv++;
        name = argc > 1 ? argv[1] : NULL;
    } else {
        set_far_alarm();
    }
    if (!name) {
        table();
        return 0;
    }
    for (u64 i = 0; i < COUNT(operations); i++) {
        const struct row *o = &operations[i];
        u64 times = argc > 2 ? number(argv[2]) : o->times;
        if (strcmp(name, o->name) || !times || argc > 3)
            continue;
        print("%s: %lu cycles each (%lu times)\n", o->title, measure(o, times), times);
        return 0;
    }
    return usage();
}
