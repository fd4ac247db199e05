/* Signals, from the kernel to a handler and back. */
#include "lat.h"

#define SIGSEGV 11
#define SA_RESTORER 0x04000000

struct action { void (*handler)(i32); u64 flags; void (*restorer)(void); u64 mask; };

void restore(void);
asm("restore:       mov $15, %eax; syscall");

static volatile u64 handled;
static u8 *guarded;

void count_signal(i32 signal) { handled += signal == SIGUSR1; }

static void unlock(i32 signal) {
    (void)signal;
    handled++;
    SURE(SYS_mprotect, guarded, PAGE, PROT_READ_WRITE);
}

void handle(i32 signal, void (*handler)(i32)) {
    struct action a = {handler, SA_RESTORER, restore, 0};

    SURE(SYS_rt_sigaction, signal, &a, NULL, 8);
}

static void check_handled(u64 n) {
    if (handled != n)
        sure("signals that came", -(i64)handled - 1);
    handled = 0;
}

u64 signal_self(u64 n) {
    i64 me = SURE(SYS_getpid);

    handle(SIGUSR1, count_signal);
    u64 start = cycles();
    for (u64 i = 0; i < n; i++)
        syscall(SYS_kill, me, SIGUSR1);
    u64 spent = cycles() - start;
    check_handled(n);
    return spent;
}

u64 protection(u64 n) {
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
