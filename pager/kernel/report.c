/* Free-page reporting.  Two seconds after memory was freed, each block of at least the policy's order that the host has
 * not been told of leaves the buddy allocator, 32 at a time, goes to the host by reporting_vq, and comes back marked:
 *
 *   free ── 2 s ──► reporting_vq ──► free, is_reported ──► used: the host binds it at its first touch
 *
 * What the processor's list holds goes back to the allocator before: one such page keeps 2 MiB in pieces.
 * So a block that is free for less than that costs nothing.  One that merges with what has been used is told of again.
 * Source: VIRTIO 1.2, "Free Page Reporting". */
#include "report.h"

#include "kernel.h"
#include "mm/buddy.h"
#include "mm/page.h"
#include "time/time.h"
#include "time/timer.h"
#include "virtqueue.h"

#define DELAY (2 * NS_PER_S)
#define LARGE_ORDER 9

bool report_on;
static struct virtqueue queue;
static u32 least;
static struct timer timer;

bool report_init(void *page) {
    least = option_is("policy", "report-2m") ? LARGE_ORDER : 0;
    return report_on = virtqueue_init(&queue, REPORTING_VQ, page);
}

static void tell_host(const struct told *t) {
    for (u32 i = 0; i < t->count; i++)
        virtqueue_piece(&queue, i, (u64)t->block[i] << PAGE_SHIFT, PAGE_SIZE << t->order[i], DESC_WRITE);
    virtqueue_send(&queue, t->count);
}

static void ring(struct timer *t) {
    (void)t;
    pages_drain();
    timer_cancel(&timer);       /* of what that has freed the host is told now */
    buddy_tell(least, tell_host);
}

/* Of any order: with what is in the processor's list it may become a larger one. */
void report_freed(void) {
    if (!timer.when)
        timer_set(&timer, now_ns() + DELAY, ring);
}
