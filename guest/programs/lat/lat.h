/* What the files of lat share: a turn's pieces, and the operations. */
#ifndef LAT_H
#define LAT_H

#include "program.h"

#define SYS_stat 4              /* numbers that program.h has not */
#define SYS_select 23
#define SYS_socketpair 53
#define SYS_memfd_create 319

#define PAGE 4096UL
#define PROT_READ 1
#define PROT_READ_WRITE 3
#define SIGUSR1 10

/* Each does `n` turns and gives the cycles that they took. */
typedef u64 operation(u64 n);

operation null_call, read_byte, write_byte, stat_file, open_close, select_many, install;        /* calls.c */
operation fork_exit, fork_exec, fork_shell, thread, nap;                                        /* processes.c */
operation ping_pong, own_pipe, context_switch, socket_pair;                                     /* channels.c */
operation new_tables, warm_fault, cold_fault, file_fault, map_unmap;                            /* memory.c */
operation signal_self, protection;                                                              /* signals.c */

/* A system call that must succeed; else lat ends and says which one did not. */
#define SURE(...) sure(#__VA_ARGS__, syscall(__VA_ARGS__))
i64 sure(const char *call, i64 result);

u64 cycles(void);
void set_far_alarm(void);
void no_alarm_with_e(void);
void wait_for(i64 child);
int shell(void);
i32 open_file(const char *path);
u8 *map(u64 pages);
void touch(u8 *at, u64 pages);
void count_signal(i32 signal);
void handle(i32 signal, void (*handler)(i32));

#endif
