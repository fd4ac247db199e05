/* What the system calls are and share. */
#ifndef SYSCALLS_H
#define SYSCALLS_H

#include "file.h"
#include "platform.h"
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

/* One page of the caller's memory after the other, to or from an open file. */
i64 file_transfer(struct file *, u64 user, u64 n, u64 *position, bool write);

#endif
