/* Open files. */
#ifndef FILE_H
#define FILE_H

#include "inode.h"
#include "types.h"

struct file {
    u32 refs, flags;            /* O_* */
    u64 position;
    struct inode *inode;
    const struct file_ops *ops;
};

/* Buffers are kernel addresses: of user pages in the direct map, mostly.
 * A missing operation is EINVAL (ENOTTY for ioctl). */
struct file_ops {
    i64 (*read)(struct file *, u8 *to, u64 n, u64 at);
    i64 (*write)(struct file *, const u8 *from, u64 n, u64 at);
    i64 (*ioctl)(struct file *, u32 request, u64 argument);
    i16 (*poll)(struct file *);         /* POLL*; missing: always ready */
    bool stream;                        /* no positions; a read gives what there is */
};

extern const struct file_ops regular_ops, directory_ops;

#define MAX_FILES 1024

struct files {
    u32 refs;
    struct file *file[MAX_FILES];
    u64 close_on_exec[MAX_FILES / 64];
};

struct files *files_create(void);
void files_put(struct files *);
struct file *file_open(struct inode *, u32 flags);      /* takes a reference of its own; NULL without memory */
void file_put(struct file *);
struct file *file_at(i32 fd);                           /* NULL = EBADF; no reference */
i32 fd_install(struct file *, i32 lowest, bool close_on_exec);  /* takes the reference; -errno drops it */
int fd_close(i32 fd);
void fd_set_close_on_exec(i32 fd, bool);
bool fd_closes_on_exec(i32 fd);

static inline bool readable(const struct file *f) { return (f->flags & O_ACCMODE) != O_WRONLY && !(f->flags & O_PATH); }
static inline bool writable(const struct file *f) { return (f->flags & O_ACCMODE) != O_RDONLY && !(f->flags & O_PATH); }

#endif
