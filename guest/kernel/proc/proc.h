/* /proc (proc.c). */
#ifndef PROC_H
#define PROC_H

#include "types.h"

struct inode;

void proc_init(void);                                   /* /proc (proc.c) */
bool proc_is_gone(const struct inode *directory);       /* of a process that is no more */
void proc_forget(i32 pid);                              /* it is no more */
bool proc_is_own_fd(const struct inode *);              /* the caller's own /proc/self/fd */
bool proc_may_follow(const struct inode *link);         /* into the process that it belongs to */

#endif
