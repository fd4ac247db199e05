/* Users and groups, and what they may do (ids.c). */
#ifndef IDS_H
#define IDS_H

#include "types.h"

struct inode;
struct process;

#define GROUPS_MAX 32

struct ids { u32 real, effective, saved; };
struct groups { u32 count, id[GROUPS_MAX]; };           /* beside the one that a process runs as */

/* Accesses to a file, with the bits of its mode. */
#define MAY_EXEC 1u             /* of a directory: go through it */
#define MAY_WRITE 2u
#define MAY_READ 4u
#define MAY_CHANGE (MAY_WRITE | MAY_EXEC)       /* make and remove names in a directory */

bool is_root(void);
u32 own_uid(void), own_gid(void);                       /* of what one makes */
bool in_group(u32 id);                                  /* by its effective group, or one beside it */
int inode_may(const struct inode *, u32 want);          /* 0, -EACCES or -EROFS; by the effective user */
int inode_may_real(const struct inode *, u32 want);
bool owns(const struct inode *);                        /* or is root */
int may_change(const struct inode *);                   /* what the file says of itself: 0, -EPERM or -EROFS */
int may_remove(const struct inode *directory, const struct inode *);    /* a name: 0 or -errno */
bool may_signal(const struct process *, u32 signal);
bool may_limit(const struct process *);                 /* set and ask what it may use */
bool may_hurry(const struct process *), may_hurry_io(const struct process *);   /* set its priority */
bool may_look_into(const struct process *);             /* its memory and files, by way of /proc */
void ids_of_program(const struct inode *, struct ids *uid, struct ids *gid);    /* that a process has after an exec */

#endif
