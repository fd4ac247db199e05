/* A split virtqueue, as the driver sees it.  All of it is in one page, and so is the buffer for a list of numbers:
 *
 *   0             1024             2048        3072
 *   │ descriptors │ available ring │ used ring │ words │
 *
 * There is one buffer at a time, so its chain begins at descriptor 0; and our host uses a buffer before it returns from
 * the notification, so that no interrupt is wanted for it.
 * Source: VIRTIO 1.2, "Split Virtqueues", "Virtqueue Operation". */
#include "virtqueue.h"

#include "kernel.h"
#include "platform/space.h"

#define AVAILABLE_AT 1024
#define USED_AT 2048
#define WORDS_AT 3072

bool virtqueue_init(struct virtqueue *q, u64 number, void *page) {
    u64 gpa = physical(page);

    *q = (struct virtqueue){
        .number = number, .descriptors = page, .available = (void *)((u8 *)page + AVAILABLE_AT),
        .used = (void *)((u8 *)page + USED_AT), .words = (void *)((u8 *)page + WORDS_AT),
    };
    q->available->flags = AVAIL_NO_INTERRUPT;
    return plat_memory(VIRTIO_QUEUE_MOST, number, 0) >= VIRTQ_MOST && !plat_memory(VIRTIO_QUEUE_SIZE, number, VIRTQ_MOST) &&
           !plat_memory(VIRTIO_QUEUE_DESCRIPTORS, number, gpa) && !plat_memory(VIRTIO_QUEUE_AVAILABLE, number, gpa + AVAILABLE_AT) &&
           !plat_memory(VIRTIO_QUEUE_USED, number, gpa + USED_AT) && !plat_memory(VIRTIO_QUEUE_READY, number, 0);
}

void virtqueue_piece(struct virtqueue *q, u32 i, u64 gpa, u64 size, u32 flags) {
    q->descriptors[i] = (struct virtq_desc){.addr = gpa, .len = (u32)size, .flags = (u16)(flags | DESC_NEXT), .next = (u16)(i + 1)};
}

/* The stores go out in this order: x86 keeps them so, and the compiler may not change it. */
void virtqueue_send(struct virtqueue *q, u32 pieces) {
    u16 place = q->available->idx % VIRTQ_MOST;

    q->descriptors[pieces - 1].flags &= (u16)~DESC_NEXT;
    q->available->ring[place] = 0;
    asm volatile("" ::: "memory");
    q->available->idx++;
    asm volatile("" ::: "memory");
    if (!(q->used->flags & USED_NO_NOTIFY))
        plat_memory(VIRTIO_NOTIFY, q->number, 0);
    if (*(volatile u16 *)&q->used->idx != q->available->idx)
        panic("virtqueue %lu: the device has not used its buffer", q->number);
}
