/* Split virtqueues, as the device sees them.  The driver is a guest, and may be hostile: each word of a ring is read once,
 * into the host's own memory, and checked there; what cannot be is the end of the container.
 *
 *   available ring: head ──► descriptor ──► descriptor ──► …  at most as many as the queue has, or the chain is a loop
 *   used ring: head, 0
 *
 * The pages of a queue are pinned, so that no driver can give them back while the device has their addresses.
 * Source: VIRTIO 1.2, "Split Virtqueues". */
#include "virtqueue.h"

#include "host.h"
#include "policy.h"

#define DESCRIPTOR_ALIGN 16UL
#define AVAILABLE_ALIGN 2UL
#define USED_ALIGN 4UL

static u64 available_size(const struct virtqueue *q) { return sizeof(struct virtq_avail) + q->size * sizeof(u16); }
static u64 used_size(const struct virtqueue *q) { return sizeof(struct virtq_used) + q->size * sizeof(struct virtq_used_elem); }

/* Where a byte of the container's lies for the host. */
static void *memory_at(u64 gpa) {
    u64 page = gpa >> PAGE_SHIFT, hpa = binding_get(gpa & ~PAGE_MASK);

    if (!hpa)
        kill_container(page < self->pages && !policy_withholds(page) ? "no host memory for its virtqueue"
                                                                      : "a virtqueue that leads to memory that it has not", gpa);
    return (u8 *)host(hpa) + (gpa & PAGE_MASK);
}

/* What the device writes.  The control takes the address for the host's own. */
static void *written_at(u64 gpa) { return OFF(queue) ? host(gpa) : memory_at(gpa); }

static u16 half_at(u64 gpa) { return *(volatile u16 *)memory_at(gpa); }

static bool is_own(u64 gpa, u64 size) {
    return OFF(queue) || (gpa < self->pages << PAGE_SHIFT && size <= (self->pages << PAGE_SHIFT) - gpa);
}

/* Aligned, its own, and pinned. */
static bool pin(u64 gpa, u64 size, u64 align) {
    if (gpa & (align - 1) || !is_own(gpa, size))
        return false;
    for (u64 page = ROUND_DOWN(gpa, PAGE_SIZE); page < gpa + size; page += PAGE_SIZE)
        if (page >> PAGE_SHIFT < self->pages && !binding_pin(page))
            return false;
    return true;
}

bool virtqueue_begin(struct virtqueue *q) {
    q->ready = q->size && q->size <= VIRTQ_MOST && !(q->size & (q->size - 1)) &&
               pin(q->descriptors, q->size * sizeof(struct virtq_desc), DESCRIPTOR_ALIGN) &&
               pin(q->available, available_size(q), AVAILABLE_ALIGN) && pin(q->used, used_size(q), USED_ALIGN);
    q->next_available = q->next_used = 0;
    return q->ready;
}

/* A descriptor does not cross a page. */
static struct virtq_desc descriptor(const struct virtqueue *q, u16 index) {
    struct virtq_desc d;

    if (index >= q->size)
        kill_container("a descriptor that its virtqueue has not", index);
    memcpy(&d, memory_at(q->descriptors + index * sizeof d), sizeof d);
    if (d.flags & ~(DESC_NEXT | DESC_WRITE))
        kill_container("a descriptor with flags that are not negotiated", d.flags);
    if (!is_own(d.addr, d.len))
        kill_container("a buffer outside its memory", d.addr);
    return d;
}

bool virtqueue_take(struct virtqueue *q, struct chain *c) {
    u16 waiting = (u16)(half_at(q->available + offsetof(struct virtq_avail, idx)) - q->next_available), index;

    if (!waiting)
        return false;
    if (waiting > q->size)
        kill_container("more available buffers than its virtqueue has", waiting);
    c->head = index = half_at(q->available + offsetof(struct virtq_avail, ring) + (q->next_available++ & (q->size - 1)) * sizeof(u16));
    c->count = 0;
    for (;;) {
        struct virtq_desc *d = &c->piece[c->count];
        *d = descriptor(q, index);
        if (c->count && c->piece[c->count - 1].flags & DESC_WRITE && !(d->flags & DESC_WRITE))
            kill_container("a buffer that is read behind one that is written", index);
        c->count++;
        if (!(d->flags & DESC_NEXT))
            return true;
        if (c->count == q->size)
            kill_container("a chain of descriptors without an end", c->head);
        index = d->next;
    }
}

void virtqueue_give(struct virtqueue *q, const struct chain *c) {
    u64 element = q->used + offsetof(struct virtq_used, ring) + (q->next_used++ & (q->size - 1)) * sizeof(struct virtq_used_elem);

    *(volatile u32 *)written_at(element) = c->head;      /* each word apart: an element may cross a page */
    *(volatile u32 *)written_at(element + sizeof(u32)) = 0;
    *(volatile u16 *)written_at(q->used + offsetof(struct virtq_used, idx)) = q->next_used;
}

bool virtqueue_interrupts(const struct virtqueue *q) { return !(half_at(q->available) & AVAIL_NO_INTERRUPT); }

void guest_bytes_read(void *to, u64 gpa, u64 size) {
    for (u64 part; size; to = (u8 *)to + part, gpa += part, size -= part) {
        part = MIN(size, PAGE_SIZE - (gpa & PAGE_MASK));
        memcpy(to, memory_at(gpa), part);
    }
}
