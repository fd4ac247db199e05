/* The memory balloon of each container, a virtio device. */
#ifndef BALLOON_H
#define BALLOON_H

#include "virtqueue.h"

struct balloon {
    u64 features;               /* that the driver has accepted */
    u32 status, interrupt;
    struct virtqueue queues[QUEUES];
    struct balloon_config config;
    u64 given;                  /* pages in the balloon */
    u64 *is_given;              /* a bit for each page of the container */
    u64 seconds;
};

/* virtio.c: the transport and the device's status. */
struct balloon *balloon_of(void);               /* of `self` */
u64  balloon_features(void);                    /* that the policy offers */
i64  balloon_request(u64 function, u64 a, u64 b);
void balloon_interrupt(struct balloon *, u32 why);

/* balloon.c: what comes by inflateq and deflateq, and what the host wishes. */
void balloon_inflate(struct balloon *, const struct chain *);
void balloon_deflate(struct balloon *, const struct chain *);
void balloon_reset(struct balloon *);           /* all pages are the container's */

/* report.c: what comes by reporting_vq. */
void report_free(const struct chain *);

/* Blocks that went back to the host, as in a request of Pager's, until the TLB forgets them. */
struct flush { u64 blocks[BALLOON_BATCH], count; };
void flush_add(struct flush *, u64 gpa, u32 order);
void flush_end(struct flush *);

#endif
