/* A child does to process 1 what only its host may: end it and stop it, by every call that sends a signal.  Process 1 has a handler
 * for SIGHUP alone, so nothing else arrives (pid_namespaces(7)), at once or once it is blocked no more.  At last it ends itself. */
#include "attack.h"

#define SIGHUP 1
#define SIGINT 2
#define SIGKILL 9
#define SIGTERM 15
#define SIGSTOP 19
#define SIGTSTP 20
#define SI_QUEUE -1
#define SI_TIMER -2
#define SA_RESTORER 0x04000000
#define SYS_tkill 200
#define SYS_tgkill 234
#define SYS_rt_sigqueueinfo 129
#define SYS_rt_tgsigqueueinfo 297

static volatile int caught;

static void handler(int signal) { caught += signal; }

void restorer(void);
asm("restorer: mov $15, %eax; syscall");

static const u8 deadly[] = {SIGKILL, SIGSTOP, SIGTERM, SIGINT, SIGTSTP, 34};

static void send(int signal) {
    i32 info[32] = {signal, 0, SI_QUEUE, 0, 1}, forged[32] = {signal, 0, SI_TIMER, 0, 1};

    syscall(SYS_kill, 1, signal);
    syscall(SYS_kill, 0, signal == SIGKILL || signal == SIGSTOP ? 0 : signal);
    syscall(SYS_tkill, 1, signal);
    syscall(SYS_tgkill, 1, 1, signal);
    syscall(SYS_rt_sigqueueinfo, 1, signal, info);
    syscall(SYS_rt_tgsigqueueinfo, 1, 1, signal, forged);
}

static void mask(u64 set) { syscall(SYS_rt_sigprocmask, 2, &set, NULL, 8); }

/* The child blocks what it can, for kill(0) is to itself, too. */
static void attack(void) {
    i32 status;
    i64 pid = syscall(SYS_fork);

    if (!pid) {
        mask(~0UL);
        for (u64 i = 0; i < sizeof deadly; i++)
            send(deadly[i]);
        syscall(SYS_kill, 1, SIGHUP);
        syscall(SYS_exit_group, 0);
    }
    while (syscall(SYS_wait4, pid, &status, 0, NULL) == -4)
        ;
}

int main(int argc, char **argv) {
    u64 action[4] = {(u64)handler, SA_RESTORER, (u64)restorer, 0};

    (void)argc, (void)argv;
    syscall(SYS_rt_sigaction, SIGHUP, action, NULL, 8);
    attack();
    print("caught %d\n", caught);
    mask(~0UL);
    attack();
    print("caught %d\n", caught);
    mask(0);
    print("caught %d\n", caught);
    syscall(SYS_kill, 1, SIGTERM);
    return 1;
}
