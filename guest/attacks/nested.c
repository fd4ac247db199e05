/* Addresses of the secret where a system call finds them later, or inside what it was given: an I/O vector, the
 * signal stack, the word to clear at a thread's end, the list of robust futexes.
 * Defence: they are followed like any other, in the program's own half only.  Control: off=usercopy. */
#include "attack.h"

#define SIGUSR1 10
#define SA_ONSTACK_RESTORER 0x0c000000UL
#define SYS_fork 57
#define SYS_wait4 61
#define SYS_sigaltstack 131
#define SYS_set_tid_address 218
#define SYS_set_robust_list 273

struct action { void *handler; u64 flags; void *restorer; u64 mask; };
struct stack { u64 sp; i32 flags, pad; u64 size; };
struct vector { u64 base, size; };

static u64 secret;

static void by_vector(void) {
    struct vector v = {secret, 8};
    syscall(SYS_writev, 1, &v, 1);
    i64 zero = syscall(SYS_open, "/dev/zero", 0, 0);
    syscall(SYS_readv, zero, &v, 1);
}

static void by_signal_stack(void) {
    struct stack s = {secret, 0, 0, PAGE};
    struct action a = {(void *)by_vector, SA_ONSTACK_RESTORER, 0, 0};
    syscall(SYS_sigaltstack, &s, 0);
    syscall(SYS_rt_sigaction, SIGUSR1, &a, 0, 8);
    syscall(SYS_kill, syscall(SYS_getpid), SIGUSR1);
}

static void by_clear_tid(void) { syscall(SYS_set_tid_address, secret); }

static void by_robust_list(void) {
    static u64 head[3];
    head[0] = head[2] = secret;
    syscall(SYS_set_robust_list, head, 24);
}

int main(int argc, char **argv) {
    void (*const ways[])(void) = {by_vector, by_signal_stack, by_clear_tid, by_robust_list};

    if (argc < 2)
        return 2;
    secret = hexadecimal(argv[1]);
    for (u64 i = 0; i < COUNT(ways); i++) {
        if (!syscall(SYS_fork)) {
            ways[i]();
            syscall(SYS_exit_group, 0);
        }
        syscall(SYS_wait4, -1, 0, 0, 0);
    }
    print("refused: all of them\n");
    return 1;
}
