/* Locks on files (lock.c). */
#ifndef LOCK_H
#define LOCK_H

struct file;
struct inode;
struct files;

void locks_drop(struct inode *, const struct files *);          /* it closed the file: its POSIX locks go (lock.c) */
void flock_drop(struct file *);                                 /* the open file ends */

#endif
