/* What is kept of each page of host memory. */
#include "host.h"
#include "shadow.h"

static struct frame *frames;

void frames_init(u64 *from, u64 pages) {
    u64 at = ROUND_UP(*from, PAGE_SIZE);

    frames = host(at);
    *from = at + ROUND_UP(pages * sizeof *frames, PAGE_SIZE);
}

struct frame *frame_of(u64 hpa) { return &frames[hpa >> PAGE_SHIFT]; }

void frame_clear(u64 hpa, u64 gpa) { *frame_of(hpa) = (struct frame){.gpa = gpa}; }

u64 guest_page(u64 gpa) {
    u64 page = gpa >> PAGE_SHIFT;

    if (page < self->pages)
        return binding_get(gpa);
    return OFF(frame) ? self->bound[page] & ~PAGE_MASK : 0;     /* a control: somebody else's binding */
}
