/* Binding: guest-physical pages to host-physical pages, when a page is first touched.
 * This is the seam where Pager will bind ahead of use. */
#include "host.h"

void bind_to(u64 gpa, u64 hpa) {
    self->bound[gpa >> PAGE_SHIFT] = hpa;
    map_kernel_page(GK_DIRECT + gpa, hpa, PTE_W | PTE_D | PTE_NX | PTE_KEY(self->key));
}

u64 bind(u64 gpa) {
    u64 page = gpa >> PAGE_SHIFT;

    if (page >= self->pages)
        return 0;
    if (!self->bound[page])
        bind_to(ROUND_DOWN(gpa, PAGE_SIZE), host_physical(OFF(zero) ? page_take_as_it_is() : page_take()));
    return self->bound[page];
}

bool bind_on_touch(u64 va) {
    u64 gpa = va - GK_DIRECT;

    return gpa >> PAGE_SHIFT < self->pages && bind(gpa);
}

/* An address of the container kernel: in its direct map, or in its image.  Anything else is
 * refused, so that the host never follows a pointer that it has not checked. */
void *kernel_memory(u64 va, u64 size) {
    if (OFF(pointer) && va >= GK_BASE + (1UL << 30))
        return (void *)va;      /* the host's own */
    if (OFF(pointer) && va >= DIRECT_MAP && va < GK_BASE)
        return (void *)va;
    u64 gpa = va >= GK_BASE ? va - GK_BASE : va - GK_DIRECT;

    if (!size || (va & PAGE_MASK) + size > PAGE_SIZE || (va >= GK_BASE && gpa >= 1UL << 30))
        return NULL;
    u64 hpa = bind(gpa);
    return hpa ? (u8 *)host(hpa) + (va & PAGE_MASK) : NULL;
}

bool copy_from_kernel(void *to, u64 va, u64 size) {
    u8 *out = to;

    while (size) {
        u64 part = MIN(size, PAGE_SIZE - (va & PAGE_MASK));
        const u8 *from = kernel_memory(va, part);
        if (!from)
            return false;
        for (u64 i = 0; i < part; i++)
            out[i] = from[i];
        out += part;
        va += part;
        size -= part;
    }
    return true;
}
