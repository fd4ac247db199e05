/* The slab allocator: pages cut into objects of one size.
 *
 *   page  ┌ struct slab │ object │ object │ object … ┐      sizes 32 .. 1024
 *         └ size, list, first free object            ┘      anything larger: a block with the same head
 */
#include "slab.h"

#include "kernel.h"
#include "page.h"

#define MAGIC 0x51ab51abu
#define SMALLEST 32
#define CLASSES 6               /* 32 << 0 .. 32 << 5 */
#define LARGE CLASSES

struct object { struct object *next; };

struct slab {
    u32 magic, class;
    u32 used, order;
    struct object *free;
    struct slab *next, *previous;       /* of the slabs of this class that have room */
    u64 pad;
};

static struct slab *room[CLASSES];

static void link_slab(struct slab *s) {
    s->previous = NULL;
    s->next = room[s->class];
    if (s->next)
        s->next->previous = s;
    room[s->class] = s;
}

static void unlink_slab(struct slab *s) {
    if (s->previous)
        s->previous->next = s->next;
    else
        room[s->class] = s->next;
    if (s->next)
        s->next->previous = s->previous;
}

static struct slab *new_slab(u32 class) {
    u64 size = (u64)SMALLEST << class;
    struct slab *s = page_alloc();

    if (!s)
        return NULL;
    *s = (struct slab){.magic = MAGIC, .class = class};
    for (u64 at = PAGE_SIZE - size; at >= sizeof *s; at -= size) {
        struct object *o = (struct object *)((u8 *)s + at);
        o->next = s->free;
        s->free = o;
    }
    link_slab(s);
    return s;
}

static void *large(u64 size) {
    u32 order = 0;

    while ((PAGE_SIZE << order) < size + sizeof(struct slab))
        order++;
    struct slab *s = order <= MAX_ORDER ? block_alloc(order) : NULL;
    if (!s)
        return NULL;
    *s = (struct slab){.magic = MAGIC, .class = LARGE, .order = order};
    return memset(s + 1, 0, size);
}

void *kmalloc(u64 size) {
    u32 class = 0;

    while (class < CLASSES && (u64)SMALLEST << class < size)
        class++;
    if (class == LARGE)
        return large(size);
    struct slab *s = room[class] ? room[class] : new_slab(class);
    if (!s)
        return NULL;
    struct object *o = s->free;
    s->free = o->next;
    s->used++;
    if (!s->free)
        unlink_slab(s);
    return memset(o, 0, (u64)SMALLEST << class);
}

void kfree(void *p) {
    struct slab *s = (struct slab *)ROUND_DOWN((u64)p, PAGE_SIZE);

    if (!p)
        return;
    if (s->magic != MAGIC)
        panic("kfree of %lx, which kmalloc never gave", (u64)p);
    if (s->class == LARGE) {
        s->magic = 0;
        block_free(s, s->order);
        return;
    }
    if (!s->free)
        link_slab(s);
    struct object *o = p;
    o->next = s->free;
    s->free = o;
    if (--s->used == 0) {
        unlink_slab(s);
        s->magic = 0;
        page_put(physical(s));
    }
}

void *kgrow(void *old, u64 old_size, u64 size) {
    void *new = kmalloc(size);

    if (!new)
        return NULL;
    memcpy(new, old, old_size);
    kfree(old);
    return new;
}
