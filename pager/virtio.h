/* What a container kernel and its host agree on for the memory balloon: virtio's split virtqueues, as two memories see them.
 *
 *   descriptors        available ring          used ring
 *   addr len flags ──┐ flags idx │ head …      flags idx │ head, len …
 *   next ◄───────────┘ the driver writes       the device writes
 *
 * The transport is ours, in place of the registers of PCI or MMIO: functions of HC_MEMORY (memory.h).  All that they
 * carry is as the specification says.
 * Source: Virtual I/O Device (VIRTIO) Version 1.2, "Split Virtqueues", "Traditional Memory Balloon Device", "Device
 * Status Field". */
#ifndef VIRTIO_H
#define VIRTIO_H

#include "types.h"

/* Functions of HC_MEMORY; each answers negative where it makes no sense. */
enum {
    VIRTIO_ID = 0x100,          /* → the device ID */
    VIRTIO_OFFERED,             /* → features */
    VIRTIO_ACCEPT,              /* features */
    VIRTIO_STATUS,              /* → device status */
    VIRTIO_SET_STATUS,          /* device status */
    VIRTIO_QUEUE_MOST,          /* queue → the largest size it may have, 0: there is no such queue */
    VIRTIO_QUEUE_SIZE,          /* queue, size */
    VIRTIO_QUEUE_DESCRIPTORS,   /* queue, guest-physical address */
    VIRTIO_QUEUE_AVAILABLE,
    VIRTIO_QUEUE_USED,
    VIRTIO_QUEUE_READY,         /* queue */
    VIRTIO_NOTIFY,              /* queue: it has an available buffer */
    VIRTIO_READ,                /* offset in the configuration → a word */
    VIRTIO_WRITE,               /* offset, a word */
    VIRTIO_INTERRUPT,           /* → why there was an interrupt, which is forgotten by that */
};

#define VIRTIO_ID_BALLOON 5
#define VIRTIO_LINE 5           /* of the interrupt controller */
#define VIRTIO_USED 1           /* VIRTIO_INTERRUPT: a buffer has been used; */
#define VIRTIO_CHANGED 2        /* the configuration has changed */

/* Device status. */
#define STATUS_ACKNOWLEDGE 1
#define STATUS_DRIVER 2
#define STATUS_DRIVER_OK 4
#define STATUS_FEATURES_OK 8
#define STATUS_FAILED 128

/* Features.  The last one is not in the specification: each number on inflateq and deflateq is that of the first of 512
 * pages, as with HyperAlloc's patch of the balloon. */
#define F_MUST_TELL_HOST (1UL << 0)
#define F_DEFLATE_ON_OOM (1UL << 2)
#define F_PAGE_REPORTING (1UL << 5)
#define F_HUGE           (1UL << 23)
#define F_VERSION_1      (1UL << 32)

enum { INFLATEQ, DEFLATEQ, STATSQ, FREE_PAGE_VQ, REPORTING_VQ, QUEUES };

struct balloon_config { u32 num_pages, actual; };       /* wanted by the host; there are, says the driver */

#define BALLOON_BATCH 256       /* numbers of pages in one buffer of our driver, */
#define REPORT_BATCH 32         /* and blocks */

struct virtq_desc { u64 addr; u32 len; u16 flags, next; };
#define DESC_NEXT     1
#define DESC_WRITE    2         /* the device writes the buffer, else it reads it */
#define DESC_INDIRECT 4         /* not negotiated */

struct virtq_avail { u16 flags, idx, ring[]; };
#define AVAIL_NO_INTERRUPT 1

struct virtq_used_elem { u32 id, len; };
struct virtq_used { u16 flags, idx; struct virtq_used_elem ring[]; };
#define USED_NO_NOTIFY 1

#define VIRTQ_MOST 64           /* entries of a queue: so many fit into a page, and leave room for a buffer */

#endif
