/* What System V's shared memory, semaphores and message queues have in common (sysv.c). */
#ifndef SYSV_H
#define SYSV_H

#include "types.h"

struct process;
struct segment;

#define IPC_PRIVATE 0
#define IPC_CREAT 01000u
#define IPC_EXCL 02000u
#define IPC_NOWAIT 04000u
#define IPC_RMID 0
#define IPC_SET 1
#define IPC_STAT 2

struct ipc { struct ipc *next; i32 id, key; u32 uid, gid, made_uid, made_gid, mode; };

struct ipc_set { struct ipc *first; i32 last_id; u32 count, most; };

/* As a program sees it: ipc64_perm. */
struct ipc_perm { i32 key; u32 uid, gid, made_uid, made_gid, mode; u16 sequence, pad; u32 pad2; u64 unused[2]; };

struct ipc *ipc_at(const struct ipc_set *, i32 id);                     /* NULL: there is none */
i64 ipc_open(const struct ipc_set *, i32 key, u32 flags, struct ipc **found);   /* *found NULL: it is to be made; or -errno */
i64 ipc_add(struct ipc_set *, struct ipc *, i32 key, u32 flags);        /* its number */
void ipc_remove(struct ipc_set *, struct ipc *);
i64 ipc_may(const struct ipc *, u32 rights);                            /* in octal, as for all three; 0 or -EACCES */
bool ipc_owns(const struct ipc *);                                      /* may change and remove it */
struct ipc_perm ipc_perm_of(const struct ipc *);
void ipc_set_perm(struct ipc *, const struct ipc_perm *);
i64 ipc_seconds(void);                                                  /* now */

void shm_forget(struct segment *);                                      /* its memory is gone (inode.c) */
void semaphores_end(struct process *);                                  /* takes back what it asked to be taken back */

#endif
