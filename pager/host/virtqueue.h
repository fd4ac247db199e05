/* Split virtqueues, as the device sees them. */
#ifndef VIRTQUEUE_H
#define VIRTQUEUE_H

#include "virtio.h"

struct virtqueue {
    u64 size, descriptors, available, used;     /* guest-physical, as the driver has said */
    bool ready;
    u16 next_available, next_used;
};

/* A buffer that the driver has made available, copied: its descriptors do not change any more. */
struct chain { u16 head; u64 count; struct virtq_desc piece[VIRTQ_MOST]; };

bool virtqueue_begin(struct virtqueue *);       /* false: sizes or addresses that a queue cannot have */
bool virtqueue_take(struct virtqueue *, struct chain *);        /* false: there is none */
void virtqueue_give(struct virtqueue *, const struct chain *);  /* used, nothing was written into it */
bool virtqueue_interrupts(const struct virtqueue *);            /* the driver wants to hear of used buffers */
void guest_bytes_read(void *to, u64 gpa, u64 size);             /* of a buffer */

#endif
