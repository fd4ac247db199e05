/* What the tests of the Linux interface share.  Every test prints the same on any
 * Linux: no identities, no addresses, no times, and nothing that depends on a race. */
#ifndef LINUX_H
#define LINUX_H

#include "program.h"

/* Numbers that program.h has not; macros, so that it may get them later. */
#define SYS_rt_sigreturn 15
#define SYS_pipe 22
#define SYS_select 23
#define SYS_sched_yield 24
#define SYS_msync 26
#define SYS_mincore 27
#define SYS_pause 34
#define SYS_socket 41
#define SYS_sendto 44
#define SYS_recvfrom 45
#define SYS_sendmsg 46
#define SYS_recvmsg 47
#define SYS_shutdown 48
#define SYS_socketpair 53
#define SYS_setsockopt 54
#define SYS_clone 56
#define SYS_fork 57
#define SYS_vfork 58
#define SYS_execve 59
#define SYS_wait4 61
#define SYS_flock 73
#define SYS_fsync 74
#define SYS_fdatasync 75
#define SYS_getcwd 79
#define SYS_fchdir 81
#define SYS_creat 85
#define SYS_fchmod 91
#define SYS_chown 92
#define SYS_fchown 93
#define SYS_getrusage 98
#define SYS_sysinfo 99
#define SYS_times 100
#define SYS_getgid 104
#define SYS_setuid 105
#define SYS_geteuid 107
#define SYS_getegid 108
#define SYS_setpgid 109
#define SYS_getppid 110
#define SYS_getpgrp 111
#define SYS_setsid 112
#define SYS_setresuid 117
#define SYS_getresuid 118
#define SYS_setresgid 119
#define SYS_getpgid 121
#define SYS_getsid 124
#define SYS_rt_sigpending 127
#define SYS_rt_sigtimedwait 128
#define SYS_rt_sigqueueinfo 129
#define SYS_rt_sigsuspend 130
#define SYS_sigaltstack 131
#define SYS_mknod 133
#define SYS_getpriority 140
#define SYS_personality 135
#define SYS_setpriority 141
#define SYS_sched_getparam 143
#define SYS_sched_getscheduler 145
#define SYS_mlock 149
#define SYS_munlock 150
#define SYS_prctl 157
#define SYS_setrlimit 160
#define SYS_sync 162
#define SYS_ioprio_set 251
#define SYS_ioprio_get 252
#define SYS_tkill 200
#define SYS_time 201
#define SYS_sched_setaffinity 203
#define SYS_sched_getaffinity 204
#define SYS_set_tid_address 218
#define SYS_clock_getres 229
#define SYS_clock_nanosleep 230
#define SYS_epoll_wait 232
#define SYS_epoll_ctl 233
#define SYS_waitid 247
#define SYS_openat 257
#define SYS_mkdirat 258
#define SYS_fchownat 260
#define SYS_unlinkat 263
#define SYS_renameat 264
#define SYS_linkat 265
#define SYS_symlinkat 266
#define SYS_readlinkat 267
#define SYS_fchmodat 268
#define SYS_faccessat 269
#define SYS_pselect6 270
#define SYS_ppoll 271
#define SYS_set_robust_list 273
#define SYS_get_robust_list 274
#define SYS_epoll_pwait 281
#define SYS_timerfd_create 283
#define SYS_timerfd_settime 286
#define SYS_timerfd_gettime 287
#define SYS_signalfd4 289
#define SYS_eventfd2 290
#define SYS_epoll_create1 291
#define SYS_dup3 292
#define SYS_pipe2 293
#define SYS_preadv 295
#define SYS_pwritev 296
#define SYS_rt_tgsigqueueinfo 297
#define SYS_getcpu 309
#define SYS_renameat2 316
#define SYS_memfd_create 319
#define SYS_execveat 322
#define SYS_pkey_mprotect 329
#define SYS_pkey_alloc 330
#define SYS_pkey_free 331
#define SYS_clone3 435
#define SYS_faccessat2 439

#define PAGE 4096UL
#define O_PATH 010000000
#define O_RDONLY 0
#define O_WRONLY 1
#define O_RDWR 2
#define O_CREAT 0100
#define O_EXCL 0200
#define O_TRUNC 01000
#define O_APPEND 02000
#define O_NONBLOCK 04000
#define O_DIRECTORY 0200000
#define O_NOFOLLOW 0400000
#define O_CLOEXEC 02000000
#define F_DUPFD 0
#define F_GETFD 1
#define F_SETFD 2
#define F_GETFL 3
#define F_SETFL 4
#define F_GETLK 5
#define F_SETLK 6
#define F_SETLKW 7
#define F_SETPIPE_SZ 1031
#define F_GETPIPE_SZ 1032
#define FIONREAD 0x541b

#define PROT_NONE 0
#define PROT_READ 1
#define PROT_WRITE 2
#define R_W 3
#define SHARED 1
#define PRIVATE 2
#define FIXED 0x10
#define ANONYMOUS 0x20
#define NOREPLACE 0x100000
#define PRIVATE_ANONYMOUS 0x22
#define SHARED_ANONYMOUS 0x21

enum {
    SIGHUP = 1, SIGINT, SIGQUIT, SIGILL, SIGTRAP, SIGABRT, SIGBUS, SIGFPE, SIGKILL, SIGUSR1, SIGSEGV, SIGUSR2, SIGPIPE,
    SIGALRM, SIGTERM, SIGSTKFLT, SIGCHLD, SIGCONT, SIGSTOP, SIGTSTP, SIGTTIN, SIGTTOU, SIGURG, SIGXCPU, SIGXFSZ,
    SIGVTALRM, SIGPROF, SIGWINCH, SIGIO, SIGPWR, SIGSYS, SIGRTMIN = 32 + 2,
};
#define SIG_DFL ((void *)0)
#define SIG_IGN ((void *)1)
#define SIG_BLOCK 0
#define SIG_UNBLOCK 1
#define SIG_SETMASK 2
#define SA_NOCLDSTOP 1UL
#define SA_NOCLDWAIT 2UL
#define SA_SIGINFO 4UL
#define SA_RESTORER 0x04000000UL
#define SA_ONSTACK 0x08000000UL
#define SA_RESTART 0x10000000UL
#define SA_NODEFER 0x40000000UL
#define SA_RESETHAND 0x80000000UL
#define BIT(signal) (1UL << ((signal) - 1))

#define WNOHANG 1
#define WUNTRACED 2
#define WSTOPPED 2
#define WEXITED 4
#define WCONTINUED 8
#define WNOWAIT 0x1000000
#define WALL 0x40000000
#define P_ALL 0
#define P_PID 1
#define P_PGID 2

#define CLONE_VM 0x100
#define CLONE_FS 0x200
#define CLONE_FILES 0x400
#define CLONE_SIGHAND 0x800
#define CLONE_VFORK 0x4000
#define CLONE_THREAD 0x10000
#define CLONE_SYSVSEM 0x40000
#define CLONE_SETTLS 0x80000
#define CLONE_PARENT_SETTID 0x100000
#define CLONE_CHILD_CLEARTID 0x200000
#define CLONE_CHILD_SETTID 0x1000000

#define PR_SET_PDEATHSIG 1
#define PR_GET_PDEATHSIG 2
#define PR_GET_DUMPABLE 3
#define PR_SET_DUMPABLE 4
#define PR_SET_NAME 15
#define PR_GET_NAME 16
#define AT_EXECFN 31
#define PER_LINUX32 8
#define PR_SET_CHILD_SUBREAPER 36
#define PR_GET_CHILD_SUBREAPER 37

struct stat { u64 dev, ino, nlink; u32 mode, uid, gid, pad; u64 rdev; i64 size, blksize, blocks, time[6], rest[3]; };
struct timespec { i64 s, ns; };
struct itimer { i64 every[2], value[2]; };      /* of seconds and microseconds, or nanoseconds for a timerfd */
struct pollfd { i32 fd; u16 events, revents; };
struct pipe { i32 read, write; };

struct action { void *handler; u64 flags; void (*restorer)(void); u64 mask; };
struct stack { void *base; i32 flags, pad; u64 size; };
struct siginfo {
    i32 signo, error, code, pad;
    union {
        struct { i32 pid; u32 uid; union { i32 status; u64 value; }; };
        u64 address;
        u64 rest[14];
    };
};
struct context {
    u64 flags, link;
    struct stack stack;
    u64 r8, r9, r10, r11, r12, r13, r14, r15, rdi, rsi, rbp, rbx, rdx, rax, rcx, rsp, rip, rflags;
    u16 cs, gs, fs, ss;
    u64 error, trap, oldmask, cr2, fpu, reserved[8], mask;
};

/* Print a call as it is written and what it returns. */
#define CALL(...) show(#__VA_ARGS__, syscall(__VA_ARGS__))
#define RESULT(call) show(#call, (i64)(call))
i64 show(const char *call, i64 result);

/* For what is of the system's choice. */
#define CHECK(what) print("%s: %s\n", #what, (what) ? "yes" : "no")

/* process.c */
void begin(void);                               /* nothing of what the caller left counts */
void apart(void);                               /* as begin, and in a process that is not the first */
void quit(i32 status) __attribute__((noreturn));
i64 fork(void);
i64 reap(const char *what, i64 pid);            /* wait for it and print how it ended */
void show_status(const char *what, i32 status);
void passes(i32 fd);                            /* one byte, for synchronisation */
i32 awaits(i32 fd);                             /* takes it; 0 at the end of the file */
void make_pipe(struct pipe *);
void closes(i64 fd);
void nap(i64 milliseconds);
i64 microseconds(void);                         /* of the monotonic clock */

/* bytes.c */
i32 same(const void *, const void *, u64);
i32 contains(const char *text, const char *part);
char *text(char *buffer, i64 n);                /* ends it after n bytes */
char *decimal(char *to, u64 value);
u64 checksum(u64 before, const void *, u64);

/* signal.c, signal.S */
void restorer(void);
i64 handle(i32 signal, void *handler, u64 flags, u64 mask);
u64 mask(i32 how, u64 set);                     /* returns the mask before */

/* thread.S: runs it on the stack that ends there; returns as clone does */
i64 clone_call(u64 flags, void *stack_end, i32 *parent_tid, i32 *child_tid, u64 tls, i64 (*run)(void *), ...);

#endif
