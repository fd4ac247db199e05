/* The driver of the memory balloon: what the host wishes is taken out of the buddy allocator and given to it.
 *
 *   buddy allocator ──► inflateq ──►  the balloon's list (by struct page: a page in it must not be touched)
 *                   ◄── deflateq ◄──
 *
 * A part of the free memory stays, for there is no telling when it is wanted, and where that does not do the balloon gives
 * some back (DEFLATE_ON_OOM).
 * Source: VIRTIO 1.2, "Device Initialization", "Traditional Memory Balloon Device". */
#include "balloon.h"

#include "kernel.h"
#include "mm/frames.h"
#include "platform/space.h"
#include "platform/time.h"
#include "report.h"
#include "time/time.h"
#include "time/timer.h"
#include "virtqueue.h"

#define KEPT 256UL              /* free pages that stay */
#define RELIEF 256UL            /* pages that come back at a time when there is none */
#define AGAIN (1 * NS_PER_S)    /* until what could not be given is tried once more */
#define WANTED (F_MUST_TELL_HOST | F_DEFLATE_ON_OOM | F_PAGE_REPORTING | F_HUGE | F_VERSION_1)

static struct virtqueue inflateq, deflateq;
static u32 first;               /* page numbers, by struct page's `next` */
static u64 actual;              /* pages */
static u32 order;
static struct timer again;

static void set_status(u64 more) {
    plat_memory(VIRTIO_SET_STATUS, (u64)plat_memory(VIRTIO_STATUS, 0, 0) | more, 0);
}

static u64 negotiate(void) {
    u64 features = (u64)plat_memory(VIRTIO_OFFERED, 0, 0) & WANTED;

    plat_memory(VIRTIO_SET_STATUS, 0, 0);
    set_status(STATUS_ACKNOWLEDGE);
    set_status(STATUS_DRIVER);
    plat_memory(VIRTIO_ACCEPT, features, 0);
    set_status(STATUS_FEATURES_OK);
    return plat_memory(VIRTIO_STATUS, 0, 0) & STATUS_FEATURES_OK ? features : 0;
}

static bool policy_has_one(void) {
    return option_is("policy", "balloon") || option_is("policy", "balloon-huge") || option_is("policy", "report-4k") || option_is("policy", "report-2m");
}

static void *take_page(u64 *free_start) {
    u64 at = ROUND_UP(*free_start, PAGE_SIZE);

    *free_start = at + PAGE_SIZE;
    return memset(direct(at), 0, PAGE_SIZE);
}

void balloon_init(u64 *free_start) {
    if (!policy_has_one() || plat_memory(VIRTIO_ID, 0, 0) != VIRTIO_ID_BALLOON)
        return;
    u64 features = negotiate();
    if (!features || !virtqueue_init(&inflateq, INFLATEQ, take_page(free_start)) || !virtqueue_init(&deflateq, DEFLATEQ, take_page(free_start)) ||
        (features & F_PAGE_REPORTING && !report_init(take_page(free_start)))) {
        set_status(STATUS_FAILED);
        print("the memory balloon does not work");
        return;
    }
    order = features & F_HUGE ? 9 : 0;
    plat_listen(VIRTIO_LINE);
    set_status(STATUS_DRIVER_OK);
}

static u64 size(void) { return 1UL << order; }

/* So many numbers of pages; the device has seen them when this returns. */
static void send(struct virtqueue *q, u32 count) {
    virtqueue_piece(q, 0, physical(q->words), count * sizeof *q->words, 0);
    virtqueue_send(q, 1);
    plat_memory(VIRTIO_WRITE, offsetof(struct balloon_config, actual), actual);
}

static bool inflate(u64 most) {
    u32 count = 0;
    u64 n;

    while (count < MIN(most / size(), (u64)BALLOON_BATCH) && frames_free() >= KEPT + size() && (n = frames_take(order, false))) {
        pages[n].next = first;
        first = (u32)n;
        inflateq.words[count++] = (u32)n;
    }
    actual += count * size();
    if (count)
        send(&inflateq, count);
    return count;
}

static void deflate(u64 least) {
    u32 count = 0;

    for (u32 n = first; n && count * size() < least && count < BALLOON_BATCH; n = pages[n].next)
        deflateq.words[count++] = n;
    actual -= count * size();
    send(&deflateq, count);
    for (u32 i = 0; i < count; i++) {
        first = pages[first].next;      /* before the page is somebody's */
        frames_give(deflateq.words[i], order);
    }
}

static void adjust(struct timer *t) {
    u64 wanted = (u64)plat_memory(VIRTIO_READ, offsetof(struct balloon_config, num_pages), 0);

    (void)t;
    while (actual > wanted)
        deflate(actual - wanted);
    if (wanted >= actual + size())
        pages_drain();
    while (wanted >= actual + size() && inflate(wanted - actual))
        ;
    if (wanted >= actual + size())
        timer_set(&again, now_ns() + AGAIN, adjust);
}

void balloon_told(void) {
    if (plat_memory(VIRTIO_INTERRUPT, 0, 0) & VIRTIO_CHANGED)
        adjust(NULL);
}

bool balloon_relieve(void) {
    if (!actual)
        return false;
    deflate(RELIEF);
    return true;
}
