/* Free-page reporting: what a container's kernel has free and does not use for the time being goes back to the host, which
 * binds it again, cleared, when it is touched.
 *
 *   reporting_vq   │ block │ block │ … │   each descriptor is a block itself: the device may write it, and unbinds it
 *
 * Source: VIRTIO 1.2, "Free Page Reporting". */
#include "balloon.h"
#include "host.h"

#define LARGE_SIZE (LARGE_PAGES << PAGE_SHIFT)

static u32 order_at(u64 gpa, u64 size) { return gpa & (LARGE_SIZE - 1) || size < LARGE_SIZE ? 0 : LARGE_ORDER; }

void report_free(const struct chain *c) {
    static struct flush flush;
    u64 told = 0;

    flush.count = 0;
    for (u64 i = 0; i < c->count; i++) {
        const struct virtq_desc *d = &c->piece[i];
        u64 gpa = d->addr, size = d->len;
        if (!(d->flags & DESC_WRITE) || gpa & PAGE_MASK || size & PAGE_MASK)
            kill_container("a report of what is no page", gpa);
        if ((told += size >> PAGE_SHIFT) > self->pages)
            kill_container("a report of more than it has", told);
        for (u64 part; size; gpa += part, size -= part) {
            u32 order = order_at(gpa, size);
            part = PAGE_SIZE << order;
            if (memory_unback(gpa, order))
                kill_container("it reports a page that is in use", gpa);
            flush_add(&flush, gpa, order);
        }
    }
    flush_end(&flush);
}
