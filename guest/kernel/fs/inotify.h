/* What happens to files, for those who watch them (inotify.c). */
#ifndef INOTIFY_H
#define INOTIFY_H

#include "inode.h"

#define IN_ACCESS 1u
#define IN_MODIFY 2u
#define IN_ATTRIB 4u
#define IN_CLOSE_WRITE 8u
#define IN_CLOSE_NOWRITE 0x10u
#define IN_OPEN 0x20u
#define IN_MOVED_FROM 0x40u
#define IN_MOVED_TO 0x80u
#define IN_CREATE 0x100u
#define IN_DELETE 0x200u
#define IN_DELETE_SELF 0x400u
#define IN_MOVE_SELF 0x800u
#define IN_ISDIR 0x40000000u

extern u64 watches;                     /* how many there are: mostly none */

/* To the file, and to its directory. */
void inotify_tell_all(const struct inode *, u32 what);
static inline void inotify_tell(const struct inode *i, u32 what) {
    if (watches)
        inotify_tell_all(i, what);
}

void inotify_tell_self(const struct inode *, u32 what);
void inotify_name(const struct inode *directory, const char *name, const struct inode *, u32 what, u32 cookie);      /* to a directory */
u32 inotify_cookie(void);               /* which two halves of a move share */
void inotify_forget(const struct inode *);      /* it is gone */

#endif
