/* SCM_RIGHTS: open files on their way from one process to another (rights.c). */
#ifndef RIGHTS_H
#define RIGHTS_H

#include "types.h"

#define RIGHTS_MAX 253U         /* of one message: Linux's SCM_MAX_FD */

struct file;

/* Those of one message.  In a stream, they hang at its first byte, and a read does not go on behind its last. */
struct rights {
    struct rights *next;
    u64 at, end;
    u32 count;
    struct file *file[];
};

i64 rights_gather(struct rights **, const i32 *fds, u64 count);         /* more of the caller's open files; 0 or -errno */
u64 rights_install(struct rights *, i32 *fds, u64 room, bool close_on_exec);   /* how many became the caller's; ends the rights */
void rights_drop(struct rights *);                                      /* NULL does nothing */
struct rights *rights_next(struct rights **list);                       /* takes the first */

#endif
