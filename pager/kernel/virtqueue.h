/* A split virtqueue, as the driver sees it: one page, one buffer at a time. */
#ifndef VIRTQUEUE_H
#define VIRTQUEUE_H

#include "virtio.h"

struct virtqueue {
    u64 number;
    struct virtq_desc *descriptors;
    struct virtq_avail *available;
    struct virtq_used *used;
    u32 *words;                 /* BALLOON_BATCH of them, for a buffer */
};

bool virtqueue_init(struct virtqueue *, u64 number, void *page);        /* cleared; false: the device has none such */
void virtqueue_piece(struct virtqueue *, u32 i, u64 gpa, u64 size, u32 flags);  /* DESC_WRITE */
void virtqueue_send(struct virtqueue *, u32 pieces);                    /* and come back when the device has used them */

#endif
