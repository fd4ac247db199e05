#ifndef PROC_H
#define PROC_H

#include "types.h"

struct inode;

void proc_init(void);                                   /* /proc (proc.c) */
bool proc_is_gone(const struct inode *directory);       /* of a process that is no more */
void proc_forget(i32 pid);                              /* it is no more */

#endif
