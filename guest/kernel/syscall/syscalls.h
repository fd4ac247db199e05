/* The system calls' declarations, and what they share. */
#ifndef SYSCALLS_H
#define SYSCALLS_H

#include "fs/file.h"
#include "platform/entry.h"
#include "types.h"

#define SYSCALL(number, name, arguments) i64 sys_##name arguments;
#include "syscalls.def"
#undef SYSCALL

#define SYSCALLS 470            /* numbers that Linux uses, or a few more */

void syscall(struct trapframe *);

extern const char *const syscall_names[SYSCALLS];

/* A path from the program, and where it starts.  NULL or an error: see path_begin(). */
struct path { char *name; struct inode *start; };
int path_begin(struct path *, i32 dirfd, u64 user);     /* then path_end(), unless it failed */
void path_end(struct path *);
int path_find(i32 dirfd, u64 user, u32 at_flags, struct inode **found);   /* with a reference; AT_* flags */

/* When a timeout that the program gave is over, ns; FOREVER for none.  A call that a signal cut short and that begins
 * again keeps the time that it had. */
i64 deadline_of(u64 timespec, u64 *until);
u64 kept_deadline(u64 until);
i64 cut_short(u64 until);                               /* -ERESTARTNOHAND */
int replace_blocked(u64 set, u64 size);                 /* of signals, for the time of the call */

i64 file_lock(struct file *, u32 command, u64 flock);   /* F_GETLK, F_SETLK, F_SETLKW */

int resize_file(struct inode *, u64 size);              /* within RLIMIT_FSIZE */

/* From or to the kernel's own memory: one piece; and all that goes in, or -errno. */
i64 file_move(struct file *, u8 *buffer, u64 n, u64 at, bool write);
i64 file_write_all(struct file *, u8 *from, u64 n, u64 at);

/* One page of the caller's memory after the other, to or from an open file. */
i64 file_transfer(struct file *, u64 user, u64 n, u64 *position, bool write);

#endif
