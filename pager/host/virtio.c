/* The virtio device of a container: features, status, queues, configuration, each by a function of HC_MEMORY.
 *
 *   reset → ACKNOWLEDGE → DRIVER → features → FEATURES_OK → queues → DRIVER_OK
 *
 * What comes out of order is answered -EINVAL, and hurts nobody.
 * Source: VIRTIO 1.2, "Basic Facilities of a Virtio Device", "Device Initialization". */
#include "balloon.h"

#include "host.h"
#include "options.h"

static struct balloon balloons[MAX_RUNNING];

struct balloon *balloon_of(void) { return &balloons[self->slot]; }

u64 balloon_features(void) {
    u64 features = F_MUST_TELL_HOST | F_DEFLATE_ON_OOM | F_VERSION_1;

    if (option_is("policy", "balloon-huge"))
        features |= F_HUGE;
    if (option_is("policy", "report-4k") || option_is("policy", "report-2m"))
        features |= F_PAGE_REPORTING;
    return features;
}

void balloon_interrupt(struct balloon *b, u32 why) {
    b->interrupt |= why;
    self->waiting |= 1UL << VIRTIO_LINE;
}

static bool exists(const struct balloon *b, u64 queue) {
    return queue == INFLATEQ || queue == DEFLATEQ || (queue == REPORTING_VQ && b->features & F_PAGE_REPORTING);
}

/* A driver that will not tell before it uses a page of the balloon is none for us. */
static bool features_are_well(const struct balloon *b) {
    return !(b->features & ~balloon_features()) && b->features & F_VERSION_1 && b->features & F_MUST_TELL_HOST;
}

static i64 set_status(struct balloon *b, u64 status) {
    if (!status) {
        *b = (struct balloon){.is_given = b->is_given, .seconds = b->seconds};
        balloon_reset(b);
        return 0;
    }
    if (status & ~0xffUL || b->status & ~status)
        return -EINVAL;         /* the driver sets bits, and clears none */
    if (status & STATUS_FEATURES_OK && !features_are_well(b))
        status &= ~(u64)STATUS_FEATURES_OK;
    if (status & STATUS_DRIVER_OK && !(status & STATUS_FEATURES_OK))
        return -EINVAL;
    b->status = (u32)status;
    return 0;
}

static i64 notify(struct balloon *b, u64 number) {
    static struct chain chain;
    struct virtqueue *q = &b->queues[number];
    bool used = false;

    if (!(b->status & STATUS_DRIVER_OK) || !q->ready)
        return -EINVAL;
    for (; virtqueue_take(q, &chain); used = true) {
        if (number == INFLATEQ)
            balloon_inflate(b, &chain);
        else if (number == DEFLATEQ)
            balloon_deflate(b, &chain);
        else
            report_free(&chain);
        virtqueue_give(q, &chain);
//        schedule_if_slice_over();       /* a queue may hold more work than a slice; the chain is done with */
    }
    if (used && virtqueue_interrupts(q))
        balloon_interrupt(b, VIRTIO_USED);
    return 0;
}

static i64 set_queue(struct balloon *b, u64 function, u64 number, u64 value) {
    struct virtqueue *q = &b->queues[number];

    if (q->ready || !(b->status & STATUS_FEATURES_OK) || b->status & STATUS_DRIVER_OK)
        return -EINVAL;
    switch (function) {
    case VIRTIO_QUEUE_SIZE: q->size = value; return 0;
    case VIRTIO_QUEUE_DESCRIPTORS: q->descriptors = value; return 0;
    case VIRTIO_QUEUE_AVAILABLE: q->available = value; return 0;
    case VIRTIO_QUEUE_USED: q->used = value; return 0;
    default: return virtqueue_begin(q) ? 0 : -EINVAL;
    }
}

static i64 accept(struct balloon *b, u64 features) {
    if (b->status & STATUS_FEATURES_OK)
        return -EINVAL;
    b->features = features;
    return 0;
}

static i64 interrupt_reasons(struct balloon *b) {
    i64 why = b->interrupt;

    b->interrupt = 0;
    return why;
}

static i64 read(const struct balloon *b, u64 offset) {
    switch (offset) {
    case offsetof(struct balloon_config, num_pages): return b->config.num_pages;
    case offsetof(struct balloon_config, actual): return b->config.actual;
    default: return -EINVAL;
    }
}

static i64 write(struct balloon *b, u64 offset, u64 value) {
    if (offset != offsetof(struct balloon_config, actual))
        return -EINVAL;
    b->config.actual = (u32)value;      /* the driver's word, which nothing here relies on */
    return 0;
}

i64 balloon_request(u64 function, u64 a, u64 b) {
    struct balloon *device = balloon_of();

    switch (function) {
    case VIRTIO_ID: return VIRTIO_ID_BALLOON;
    case VIRTIO_OFFERED: return (i64)balloon_features();
    case VIRTIO_ACCEPT: return accept(device, a);
    case VIRTIO_STATUS: return device->status;
    case VIRTIO_SET_STATUS: return set_status(device, a);
    case VIRTIO_QUEUE_MOST: return exists(device, a) ? VIRTQ_MOST : 0;
    case VIRTIO_QUEUE_SIZE: case VIRTIO_QUEUE_DESCRIPTORS: case VIRTIO_QUEUE_AVAILABLE: case VIRTIO_QUEUE_USED:
    case VIRTIO_QUEUE_READY: return exists(device, a) ? set_queue(device, function, a, b) : -EINVAL;
    case VIRTIO_NOTIFY: return exists(device, a) ? notify(device, a) : -EINVAL;
    case VIRTIO_READ: return read(device, a);
    case VIRTIO_WRITE: return write(device, a, b);
    case VIRTIO_INTERRUPT: return interrupt_reasons(device);
    default: return -ENOSYS;
    }
}
