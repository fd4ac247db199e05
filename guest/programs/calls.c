/* calls [COUNT [SEED]]: random system calls with random arguments, to see whether the kernel lives through them.
 *
 * Only for a container: on a computer, as root, it destroys.  Children make the calls, each some of them, and may die of what
 * they do; this process, the first of the container, looks after them, ends what they have started, and at last tries
 * whether files, pipes, memory and processes still work. */
#include "program.h"

#define PAGE 4096UL
#define ROUND 100               /* calls of one child */
#define PATIENCE 20000000       /* ns that a child may sleep before it is ended */
#define PROT_READ_WRITE 3
#define SHARED_ANONYMOUS 0x21
#define PRIVATE_ANONYMOUS 0x22
#define SIGKILL 9
#define SIGCHLD 17
#define WNOHANG 1
#define WALL 0x40000000
#define BIT(signal) (1UL << ((signal) - 1))
#define LAST_CALL 470
#define O_RDWR_CREATE 0102
enum { exit = 60, kill = 62, vfork = 58, setpgid = 109, tkill = 200, tgkill = 234, exit_group = 231, rt_sigqueueinfo = 129, rt_tgsigqueueinfo = 297 };

enum {
    SYS_socket = 41, SYS_bind = 49, SYS_listen = 50, SYS_socketpair = 53, SYS_sysinfo = 99, SYS_setuid = 105, SYS_rt_sigtimedwait = 128,
    SYS_timerfd_create = 283, SYS_eventfd2 = 290, SYS_epoll_create1 = 291,
};

struct shared { u64 made, answered; };

static u64 state;
static struct shared *shared;
static u8 memory[16 * PAGE] __attribute__((aligned(4096)));

i64 any_call(u64 number, const u64 arguments[6]);
asm("any_call:\n"
    "   mov %rdi, %rax; mov %rsi, %r11\n"
    "   mov (%r11), %rdi; mov 8(%r11), %rsi; mov 16(%r11), %rdx; mov 24(%r11), %r10; mov 32(%r11), %r8; mov 40(%r11), %r9\n"
    "   syscall; ret\n");

/* xorshift64 (Marsaglia 2003) */
static u64 random(void) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state;
}

static u64 below(u64 n) { return random() % n; }

static const char *const paths[] = {
    "file", ".", "..", "/", "/dev/null", "/dev/zero", "/dev/full", "/dev/fd/3", "/proc/self/maps", "/proc/self/fd", "/proc/1/status", "/proc",
    "/dev/shm/x", "directory", "directory/file", "link", "no/such/file", "", "/proc/self/exe", "/dev/tty", "socket", "fifo", "//./../bin//",
};

/* Something that a program might pass, or somebody who means no good. */
static u64 argument(void) {
    static const u64 edges[] = {
        0, ~0UL, 1UL << 63, 0x7fffffffUL, 0x80000000UL, 0xffffffffUL, 0x7fffffffffffUL, 0x7ffffffff000UL, 0x800000000000UL,
        0xffff888000000000UL, 0xffffffff80000000UL, 0xfffffffffffff000UL, PAGE, PAGE - 1, PAGE + 1, 1UL << 40, 0x123456789abcdefUL,
    };

    switch (below(10)) {
    case 0: case 1: case 2:
        return below(18);                                       /* a descriptor, a command, a small size */
    case 3: case 4: case 5:
        return (u64)memory + below(sizeof memory) * (below(3) != 0);    /* often the first byte */
    case 6:
        return (u64)paths[below(sizeof paths / sizeof *paths)];
    case 7:
        return edges[below(sizeof edges / sizeof *edges)];
    case 8:
        return 1UL << below(64) | 1UL << below(64);             /* flags */
    default:
        return random() >> below(64);
    }
}

/* Numbers that mean something, in the memory that pointers lead to. */
static void fill(void) {
    for (u64 at = 0; at < sizeof memory; at += 8)
        *(u64 *)(memory + at) = below(4) ? below(3) ? below(40) : argument() : below(20) << 32 | below(20);
}

/* Not what ends us by design, nor what cannot come back here. */
static int is_left_out(u64 number) { return number == exit || number == exit_group || number == vfork; }

static int is_for_somebody(u64 number) {
    return number == kill || number == tkill || number == tgkill || number == rt_sigqueueinfo || number == rt_tgsigqueueinfo || number == setpgid;
}

/* Half of one child's calls are neighbours in the table, which often have to do with each other. */
static void make_calls(i64 own) {
    u64 theme = below(LAST_CALL - 16);

    for (int i = 0; i < ROUND; i++) {
        u64 number = below(2) ? below(LAST_CALL) : theme + below(16), arguments[6];
        if (is_left_out(number))
            continue;
        if (!below(4))
            fill();
        for (int k = 0; k < 6; k++)
            arguments[k] = argument();
        if (is_for_somebody(number))
            arguments[0] = (u64)own;
        shared->made++;
        if (any_call(number, arguments) != -38)
            shared->answered++;
    }
}

/* One descriptor of each kind, so that a small number is likely to be one. */
static void open_some(void) {
    static const u16 local[] = {1, 'n' << 8};           /* sockaddr_un, an abstract name: \0n */
    static const u16 inet[8] = {2};
    i32 fds[2];

    syscall(SYS_open, "file", O_RDWR_CREATE, 0644);
    syscall(SYS_open, "/proc/self/fd", 0, 0);
    syscall(SYS_pipe, fds);
    syscall(SYS_socketpair, 1, 1, 0, fds);
    i64 name = syscall(SYS_socket, 1, 2, 0), listener = syscall(SYS_socket, 2, 1, 0);
    syscall(SYS_bind, name, local, 4);
    syscall(SYS_bind, listener, inet, 16);
    syscall(SYS_listen, listener, 2);
    syscall(SYS_socket, 10, 2, 0);
    syscall(SYS_socket, 16, 3, 0);
    syscall(SYS_eventfd2, 1, 0);
    syscall(SYS_timerfd_create, 1, 0);
    syscall(SYS_epoll_create1, 0);
}

static void child(u64 seed) {
    state = seed * 0x9e3779b97f4a7c15UL | 1;
    for (int i = 0; i < 8; i++)
        random();
    fill();
    open_some();
    if (seed & 1)
        syscall(SYS_setuid, 1000);
    make_calls(syscall(SYS_getpid));
    syscall(SYS_exit_group, 0);
}

/* Wait for the child, and no longer than it has something to do; then end whatever it has left behind. */
static void look_after(i64 pid) {
    u64 set = BIT(SIGCHLD);
    i64 limit[2] = {0, PATIENCE};

    while (syscall(SYS_wait4, pid, NULL, WNOHANG | WALL, NULL) == 0)
        if (syscall(SYS_rt_sigtimedwait, &set, NULL, limit, 8) < 0)
            break;
    syscall(SYS_kill, -1, SIGKILL);
    while (syscall(SYS_wait4, -1, NULL, WALL, NULL) > 0)
        ;
}

static const char *works(void) {
    i64 fd = syscall(SYS_open, "/tried", O_RDWR_CREATE, 0600), pid;
    i32 p[2], status = 0;
    char back[6];

    if (fd < 0 || syscall(SYS_write, fd, "bytes", 5) != 5 || syscall(SYS_pread64, fd, back, 5, 0) != 5 || back[4] != 's')
        return "files";
    syscall(SYS_close, fd);
    if (syscall(SYS_pipe, p) || (pid = syscall(SYS_fork)) < 0)
        return "pipes or processes";
    if (!pid) {
        i64 more = syscall(SYS_mmap, NULL, 64 * PAGE, PROT_READ_WRITE, PRIVATE_ANONYMOUS, -1, 0);
        for (u64 at = 0; more > 0 && at < 64; at++)
            ((u8 *)more)[at * PAGE] = 1;
        syscall(SYS_write, p[1], more > 0 ? "y" : "n", 1);
        syscall(SYS_exit_group, 7);
    }
    if (syscall(SYS_wait4, pid, &status, 0, NULL) != pid || status != 7 << 8)
        return "waiting";
    return syscall(SYS_read, p[0], back, 1) == 1 && back[0] == 'y' ? NULL : "memory";
}

static u64 free_memory(void) {
    u64 info[14] = {0};

    syscall(SYS_sysinfo, info);
    return info[5];
}

int main(int argc, char **argv) {
    u64 count = argc > 1 ? number(argv[1]) : 10000, seed = argc > 2 ? number(argv[2]) : 1, rounds = 0, chld = BIT(SIGCHLD);

    if (syscall(SYS_getpid) != 1) {
        print("only as the first process of a container\n");
        return 1;
    }
    syscall(SYS_rt_sigprocmask, 0, &chld, NULL, 8);
    shared = (struct shared *)syscall(SYS_mmap, NULL, PAGE, PROT_READ_WRITE, SHARED_ANONYMOUS, -1, 0);
    for (; shared->made < count && rounds < count; rounds++) {
        i64 pid = syscall(SYS_fork);
        if (!pid)
            child(seed * 1000003 + rounds);
        if (pid < 0) {
            print("no more processes: error %ld\n", -pid);
            return 1;
        }
        look_after(pid);
    }
    const char *broken = works();
    print("%lu calls from seed %lu, %lu of them known, %lu children; %lu KiB free\n", shared->made, seed, shared->answered, rounds, free_memory() / 1024);
    print("%s%s\n", broken ? "broken: " : "alive", broken ? broken : "");
    return broken != NULL;
}
