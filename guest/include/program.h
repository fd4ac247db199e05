/* The little that the programs of this project need of a C library.
 * System calls return what the kernel returns: a result, or -errno. */
#ifndef PROGRAM_H
#define PROGRAM_H

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long u64;
typedef int i32;
typedef long i64;

#define NULL ((void *)0)
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define AT_FDCWD (-100)

/* The numbers of the system calls that are used here. */
enum {
    SYS_read = 0, SYS_write = 1, SYS_open = 2, SYS_close = 3, SYS_fstat = 5, SYS_lstat = 6, SYS_poll = 7, SYS_lseek = 8,
    SYS_mmap = 9, SYS_mprotect = 10, SYS_munmap = 11, SYS_brk = 12, SYS_rt_sigaction = 13, SYS_rt_sigprocmask = 14,
    SYS_ioctl = 16, SYS_pread64 = 17, SYS_pwrite64 = 18, SYS_readv = 19, SYS_writev = 20, SYS_access = 21, SYS_mremap = 25,
    SYS_madvise = 28, SYS_dup = 32, SYS_dup2 = 33, SYS_nanosleep = 35, SYS_getitimer = 36, SYS_alarm = 37, SYS_setitimer = 38, SYS_getpid = 39, SYS_sendfile = 40, SYS_exit = 60,
    SYS_kill = 62, SYS_uname = 63, SYS_fcntl = 72, SYS_truncate = 76, SYS_ftruncate = 77, SYS_getcwd = 79, SYS_chdir = 80,
    SYS_rename = 82, SYS_mkdir = 83, SYS_rmdir = 84, SYS_link = 86, SYS_unlink = 87, SYS_symlink = 88, SYS_readlink = 89,
    SYS_chmod = 90, SYS_umask = 95, SYS_gettimeofday = 96, SYS_getrlimit = 97, SYS_getuid = 102, SYS_arch_prctl = 158,
    SYS_gettid = 186, SYS_futex = 202, SYS_getdents64 = 217, SYS_clock_gettime = 228, SYS_exit_group = 231,
    SYS_tgkill = 234, SYS_newfstatat = 262, SYS_utimensat = 280, SYS_fallocate = 285, SYS_prlimit64 = 302, SYS_getrandom = 318, SYS_copy_file_range = 326, SYS_statx = 332, SYS_close_range = 436,
    SYS_pipe = 22, SYS_fork = 57, SYS_execve = 59, SYS_wait4 = 61, SYS_getppid = 110, SYS_sched_setaffinity = 203,
    SYS_sched_getaffinity = 204,
};

/* A system call of up to six arguments; the number is a constant. */
#define syscall(...) SYSCALL_(__VA_ARGS__, 0, 0, 0, 0, 0, 0)
#define SYSCALL_(number, a, b, c, d, e, f, ...) ({                              \
    register i64 r10 asm("r10") = (i64)(d), r8 asm("r8") = (i64)(e), r9 asm("r9") = (i64)(f); \
    i64 result;                                                                 \
    asm volatile("mov %1, %%eax; syscall"                                       \
                 : "=a"(result)                                                 \
                 : "i"(number), "D"((i64)(a)), "S"((i64)(b)), "d"((i64)(c)), "r"(r10), "r"(r8), "r"(r9) \
                 : "rcx", "r11", "memory");                                     \
    result; })

/* string.c */
u64 strlen(const char *);
int strcmp(const char *, const char *);
void *memcpy(void *, const void *, u64);
void *memset(void *, int, u64);
u64 number(const char *decimal);

/* print.c: %s %c %d %u %x and their l forms, to standard output at once */
void print(const char *format, ...) __attribute__((format(printf, 1, 2)));

int main(int argc, char **argv);

#endif
