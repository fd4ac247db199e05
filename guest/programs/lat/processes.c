/* Processes and threads that begin and end, and one that sleeps. */
#include "lat.h"

#define CLONE_FOR_A_THREAD 0x250f00     /* VM FS FILES SIGHAND THREAD SYSVSEM, CHILD_CLEARTID */
#define NAP 100000                      /* ns */

i64 start_thread(u64 flags, void *stack, i32 *parent_tid, i32 *child_tid);
asm("start_thread:  mov %rcx, %r10; mov $56, %eax; syscall\n"
    "               test %eax, %eax; jnz 1f; xor %edi, %edi; mov $60, %eax; syscall\n" /* the thread only ends */
    "1:             ret");

void wait_for(i64 child) {
    i32 status = 0;

    SURE(SYS_wait4, child, &status, 0, NULL);
    if (status)
        sure("the child's status", -status);
}

u64 fork_exit(u64 n) {
    u64 start = cycles();

    while (n--) {
        i64 child = SURE(SYS_fork);
        if (!child)
            syscall(SYS_exit_group, 0);
        wait_for(child);
    }
    return cycles() - start;
}

/* The child becomes `lat WHAT`. */
static u64 fork_exec_as(const char *what, u64 n) {
    const char *argv[] = {"lat", what, NULL}, *envp[] = {NULL};
    u64 start = cycles();

    while (n--) {
        i64 child = SURE(SYS_fork);
        if (!child)
            SURE(SYS_execve, "/proc/self/exe", argv, envp);
        wait_for(child);
    }
    return cycles() - start;
}

u64 fork_exec(u64 n) { return fork_exec_as("exit", n); }

u64 fork_shell(u64 n) { return fork_exec_as("shell", n); }

/* A shell that was given one command, and no more than that: it has no files to read and no words to split. */
int shell(void) {
    fork_exec(1);
    return 0;
}

u64 thread(u64 n) {
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

/* The time asleep is in it: what is more is what the timer, and the way back from it, take. */
u64 nap(u64 n) {
    struct { i64 s, ns; } rest = {0, NAP};
    u64 start = cycles();

    while (n--)
        SURE(SYS_nanosleep, &rest, NULL);
    return cycles() - start;
}
