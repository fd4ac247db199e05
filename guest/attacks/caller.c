/* A program that makes the system calls of a script: a child makes them, and may die of it; this process, the first of the
 * container, then tries whether files, pipes, memory and processes still work, and says what each call has answered.
 *
 *   AREA  0x10000000   results, and what the kernel must not have written there
 *         0x10001000   15 pages that arguments point into: strings, structures, room (paracell/fuzz/call_arguments.py) */
#include "attack.h"
#include "script.h"

#define AREA 0x10000000UL
#define PAGES 16
#define PATIENCE 5000000        /* ns that the child may take */
#define SIGCHLD 17
#define SIGKILL 9
#define WNOHANG 1
#define WALL 0x40000000
#define O_RDWR_CREATE 0102
#define SYS_rt_sigtimedwait 128

SCRIPT_HERE

static volatile i64 *const results = (i64 *)AREA;

i64 any_call(u64 number, const u64 arguments[6]);
asm("any_call:\n"
    "   mov %rdi, %rax; mov %rsi, %r11\n"
    "   mov (%r11), %rdi; mov 8(%r11), %rsi; mov 16(%r11), %rdx; mov 24(%r11), %r10; mov 32(%r11), %r8; mov 40(%r11), %r9\n"
    "   syscall; ret\n");

static void child(void) {
    u64 a[SCRIPT_ARGUMENTS], none = 0;

    syscall(SYS_rt_sigprocmask, 2, &none, NULL, 8);
    for (i64 n; (n = script_next(a)) >= 0;)
        results[n] = script.results[n] = any_call(script.steps[n].what, a);
    syscall(SYS_exit_group, 0);
}

/* Wait for the child, and no longer than it has something to do; then end whatever it has left behind. */
static void look_after(i64 pid) {
    u64 set = 1UL << (SIGCHLD - 1);
    i64 limit[2] = {0, PATIENCE};

    while (syscall(SYS_wait4, pid, NULL, WNOHANG | WALL, NULL) == 0)
        if (syscall(SYS_rt_sigtimedwait, &set, NULL, limit, 8) < 0)
            break;
    syscall(SYS_kill, -1, SIGKILL);
    while (syscall(SYS_wait4, -1, NULL, WALL, NULL) > 0)
        ;
}

static const char *broken(void) {
    i64 fd = syscall(SYS_open, "/tried", O_RDWR_CREATE, 0600), pid;
    i32 p[2], status = 0;
    char back[6];

    if (fd < 0 || syscall(SYS_write, fd, "bytes", 5) != 5 || syscall(SYS_pread64, fd, back, 5, 0) != 5 || back[4] != 's')
        return "files";
    if (syscall(SYS_pipe, p) || (pid = syscall(SYS_fork)) < 0)
        return "pipes or processes";
    if (!pid)
        syscall(SYS_exit_group, syscall(SYS_write, p[1], "y", 1) == 1 ? 7 : 8);
    if (syscall(SYS_wait4, pid, &status, 0, NULL) != pid || status != 7 << 8 || syscall(SYS_read, p[0], back, 1) != 1)
        return "waiting";
    return NULL;
}

static int is_argument(u64 value) {
    for (u64 n = 0; n < script.ready && n < SCRIPT_STEPS; n++)
        for (int i = 0; i < SCRIPT_ARGUMENTS; i++)
            if (script.steps[n].a[i] == value)
                return 1;
    return 0;
}

/* An address of the kernel's half, where the kernel has written for us; what the script itself has given may come back. */
static u64 leaked(void) {
    for (const u64 *word = (u64 *)(AREA + PAGE); word < (u64 *)(AREA + PAGES * PAGE); word++)
        if ((*word >> 40 == 0xffff88 || *word >> 31 == 0x1ffffffffUL) && *word < -65536UL && *word << 32 && !is_argument(*word))
            return *word;
    return 0;
}

int main(int argc, char **argv) {
    u64 all = ~0UL;
    i64 pid;

    (void)argc, (void)argv;
    syscall(SYS_rt_sigprocmask, 2, &all, NULL, 8);
    syscall(SYS_mmap, AREA, PAGES * PAGE, PROT_RW, MAP_SHARED | MAP_FIXED | MAP_ANONYMOUS, -1, 0);
    for (u64 at = 0; at < PAGES * PAGE; at += PAGE)
        *(volatile u64 *)(AREA + at) = 0;
    script_wait();
    if (!(pid = syscall(SYS_fork)))
        child();
    look_after(pid);
    print("\nanswers ");        /* a line of its own: the calls may have written to the console, too */
    for (u64 n = 0; n < script.ready && n < SCRIPT_STEPS; n++)
        print("%ld ", results[n]);
    const char *what = broken();
    print("\nbroken %s\nleaked %lx\nend\n", what ? what : "nothing", leaked());
    for (;;)
        syscall(SYS_nanosleep, (&(i64[2]){1000, 0}), NULL);
}
