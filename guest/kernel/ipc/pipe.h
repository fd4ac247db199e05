/* A ring of bytes between writers and readers (pipe.c). */
#ifndef PIPE_H
#define PIPE_H

#include "fs/file.h"

#define PIPE_PAGES 16UL
#define PIPE_BUF PAGE_SIZE

struct pipe {
    u8 **page;                  /* each made when it is first written */
    u64 pages;                  /* a power of two */
    u64 head, tail;             /* count up for ever */
    u64 size;                   /* what it may hold; the ring has room for all pages */
    struct rights *rights;      /* files on their way through a socket (rights.c) */
    u64 freed;                  /* how often there was room again */
    u32 readers, writers;
    u32 opened_read, opened_write;      /* how often: a FIFO's open() waits for the other side */
    bool nameless;              /* from pipe(): whoever opens it by way of /proc waits for nobody */
};

struct pipe *pipe_new(u64 pages);                       /* NULL without memory */
void pipe_free(struct pipe *);
i64 pipe_read(struct pipe *, u8 *to, u64 n, bool wait);         /* 0: there are no writers */
i64 pipe_write(struct pipe *, const u8 *from, u64 n, u64 least, bool wait);     /* what fits; both may say -ERETRY */
i64 pipe_resize(struct pipe *, u64 size);               /* what it is then, or -errno */
u64 pipe_used(const struct pipe *);
u64 pipe_peek(const struct pipe *, u8 *to, u64 n);      /* what there is of it; it stays */
u64 pipe_poll_generation(const struct pipe *, bool read, bool write);   /* see file.h */
i16 pipe_poll(const struct pipe *, bool read, bool write);

extern const struct file_ops fifo_ops;

#endif
