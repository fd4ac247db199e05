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
    void *own;                  /* what the operations keep */
    struct file *next;          /* of those that are ending */
};

/* For a stream, `at` says how much this call has moved already: only at 0 may the operation wait.
 * Buffers are kernel addresses, mostly of user pages in the direct map, and such a page may be freed while an operation sleeps.
 * So an operation that has slept returns -ERETRY, and its caller looks the page up again and retries; an operation that
 * `may_sleep` gets a buffer in the kernel's own memory instead.
 * A write to a stream may move less than it was given and is called again, until it moves nothing.
 * A missing operation is EINVAL (ENOTTY for ioctl). */
struct file_ops {
    i64 (*read)(struct file *, u8 *to, u64 n, u64 at);
    i64 (*write)(struct file *, const u8 *from, u64 n, u64 at);
    i64 (*message)(struct file *, const struct iovec *pieces, u64 count, bool write);   /* one call moves one, whatever its size */
    i64 (*ioctl)(struct file *, u32 request, u64 argument);
    i16 (*poll)(struct file *);         /* POLL*; missing: always ready */
    u64 (*poll_generation)(struct file *);      /* changes when something new has come, whatever poll() said before (epoll.c) */
    int (*open)(struct file *);         /* 0 or -errno; may wait */
    void (*release)(struct file *);     /* the last reference is gone */
    bool stream;                        /* no positions; a read gives what there is */
    bool whole;                         /* one call is one message: its bytes come together */
    bool may_sleep;                     /* as often as it likes: its buffer is the kernel's */
};

/* Whatever changes what poll() says of a file tells it to those who wait for any. */
extern struct pollers { int none; } pollers;
void file_changed(const void *channel);

extern const struct file_ops regular_ops, directory_ops, path_ops;

#define MAX_FILES 1024

struct files {
    u32 refs;
    struct file *file[MAX_FILES];
    u64 close_on_exec[MAX_FILES / 64];
};

struct files *files_create(void);
struct files *files_copy(const struct files *);
void files_put(struct files *);
struct file *file_open(struct inode *, u32 flags);      /* takes a reference of its own; NULL without memory */
struct file *file_nameless(const struct file_ops *, void *own, u32 flags);     /* frees `own` if it cannot; NULL without memory */
void file_put(struct file *);
void file_discard(struct file *);                       /* one whose open() failed */
struct file *file_at(i32 fd);                           /* NULL = EBADF; no reference */
i32 fd_limit(void);                                     /* all numbers are below */
i32 fd_install(struct file *, i32 lowest, bool close_on_exec);  /* takes the reference; -errno drops it */
int fd_install_pair(struct file *, struct file *, bool close_on_exec, i32 fds[2]);       /* NULL ones: no memory */
i64 copy_out_pair(u64 to, const i32 fds[2]);            /* closes them if that fails */
int fd_close(i32 fd);
void fd_set_close_on_exec(i32 fd, bool);
bool fd_closes_on_exec(i32 fd);

static inline bool readable(const struct file *f) { return (f->flags & O_ACCMODE) != O_WRONLY && !(f->flags & O_PATH); }
static inline bool writable(const struct file *f) { return (f->flags & O_ACCMODE) != O_RDONLY && !(f->flags & O_PATH); }

#endif
