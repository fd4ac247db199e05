/* The ranges of an address space: a sorted list, with the last one found remembered. */
#include "fs/inode.h"
#include "kernel.h"
#include "linux.h"
#include "page.h"
#include "slab.h"
#include "vm.h"
#include "walk.h"

#define STACK_MAX (60UL << 20)
#define STACK_GAP (256 * PAGE_SIZE)             /* so that it does not run into what is below */

struct vma *vma_find(struct mm *mm, u64 va) {
    struct vma *v = mm->recent;

    if (v && v->start <= va && va < v->end)
        return v;
    for (v = mm->first; v && v->end <= va; v = v->next)
        ;
    if (v && v->start <= va)
        mm->recent = v;
    return v;
}

bool vma_is_free(struct mm *mm, u64 start, u64 end) {
    struct vma *v = vma_find(mm, start);

    return !v || v->start >= end;
}

u64 mm_size(const struct mm *mm, u64 start, u64 end) {
    u64 size = 0;

    for (const struct vma *v = mm->first; v && v->start < end; v = v->next)
        if (v->end > start)
            size += MIN(v->end, end) - MAX(v->start, start);
    return size;
}

u64 vma_gap(struct mm *mm, u64 size) {
    u64 end = mm->mmap_top;

    for (struct vma *v = mm->last; v && v->end > end - size; v = v->previous) {
        if (v->start < end)
            end = v->start;
        if (end < size + MMAP_BOTTOM)
            return 0;
    }
    return end - size;
}

static bool joins(const struct vma *a, const struct vma *b) {
    return a->end == b->start && a->sealed == b->sealed && a->grows == b->grows && a->prot == b->prot && a->key == b->key && a->shared == b->shared && a->inode == b->inode &&
           (!a->inode || a->offset + (a->end - a->start) == b->offset);
}

static void unlink(struct mm *mm, struct vma *v) {
    *(v->previous ? &v->previous->next : &mm->first) = v->next;
    *(v->next ? &v->next->previous : &mm->last) = v->previous;
    mm->recent = NULL;
}

static void link_behind(struct mm *mm, struct vma *v, struct vma *before) {
    v->previous = before;
    v->next = before ? before->next : mm->first;
    *(before ? &before->next : &mm->first) = v;
    *(v->next ? &v->next->previous : &mm->last) = v;
}

static void discard(struct mm *mm, struct vma *v) {
    unlink(mm, v);
    if (v->inode)
        inode_put(v->inode);
    kfree(v);
}

/* Make one range of those from `start` to `end`, and their neighbours, that continue each other. */
static void merge(struct mm *mm, u64 start, u64 end) {
    struct vma *v = vma_find(mm, start);

    if (v && v->previous)
        v = v->previous;
    while (v && v->next && v->start < end) {
        if (joins(v, v->next)) {
            v->end = v->next->end;
            discard(mm, v->next);
        } else {
            v = v->next;
        }
    }
}

int vma_add(struct mm *mm, const struct vma *like) {
    struct vma *v = kmalloc(sizeof *v), *before = mm->last;

    if (!v)
        return -ENOMEM;
    *v = *like;
    if (v->inode)
        inode_get(v->inode);
    while (before && before->end > v->start)
        before = before->previous;
    link_behind(mm, v, before);
    merge(mm, like->start, like->end);
    return 0;
}

bool vma_grow(struct vma *v, u64 va, u64 limit) {
    u64 start = ROUND_DOWN(va, PAGE_SIZE);

    if (!v->grows || v->end - start > MIN(limit, STACK_MAX) || (v->previous && v->previous->end + STACK_GAP > start))
        return false;
    v->start = start;
    return true;
}

/* Make `va` a border between two ranges, if it lies within one. */
static int split(struct mm *mm, u64 va) {
    struct vma *v = vma_find(mm, va), *upper;

    if (!v || v->start >= va)
        return 0;
    if (!(upper = kmalloc(sizeof *upper)))
        return -ENOMEM;
    *upper = *v;
    upper->start = va;
    upper->offset += va - v->start;
    if (upper->inode)
        inode_get(upper->inode);
    v->end = va;
    link_behind(mm, upper, v);
    mm->recent = NULL;
    return 0;
}

static int isolate(struct mm *mm, u64 start, u64 end) {
    int error = split(mm, start);

    return error ? error : split(mm, end);
}

int vma_become(struct mm *mm, u64 start, u64 end, struct inode *inode, u64 offset) {
    int error = isolate(mm, start, end);

    for (struct vma *v = vma_find(mm, start); !error && v && v->start < end; v = v->next) {
        inode_get(inode);
        if (v->inode)
            inode_put(v->inode);
        v->inode = inode;
        v->offset = offset + (v->start - start);
    }
    return error;
}

static bool zap(u64 va, pte_t *slot, void *arg) {
    struct pte_run *run = arg;
    pte_t old = *slot;

    if (old & PTE_ADDRESS) {
        run_set(run, va, slot, 0);
        run_drop(run, old & PTE_ADDRESS);
        run->mm->pages--;
    }
    return true;
}

/* Take the pages away; the ranges stay. */
void vma_zap(struct mm *mm, u64 start, u64 end) {
    struct pte_run run;

    mm->most = MAX(mm->most, mm->pages);
    run_begin(&run, mm);
    walk(mm->root, start, end, &(struct visitor){.leaf = zap}, &run);
    run_end(&run);
}

int vma_remove(struct mm *mm, u64 start, u64 end) {
    int error = isolate(mm, start, end);
    struct vma *v, *next;

    if (error)
        return error;
    for (v = vma_find(mm, start); v && v->start < end; v = next) {
        next = v->next;
        vma_zap(mm, v->start, v->end);
        discard(mm, v);
    }
    return 0;
}

/* What an entry becomes under new rights.  W is never added here: the next
 * write faults, and the fault knows whether the page must be copied first. */
static pte_t with_rights(pte_t entry, u32 prot, u8 key) {
    entry &= ~(PTE_KEPT | PTE_NX | PTE_KEYS);
    entry |= PTE_P | PTE_KEY(key);
    if (!(prot & PROT_WRITE))
        entry &= ~PTE_W;
    if (!(prot & PROT_EXEC))
        entry |= PTE_NX;
    if (!prot)
        entry = (entry & ~PTE_P) | PTE_KEPT;
    return entry;
}

struct protection { struct pte_run run; u32 prot; u8 key; };

static bool protect(u64 va, pte_t *slot, void *arg) {
    struct protection *p = arg;

    if (*slot && with_rights(*slot, p->prot, p->key) != *slot)
        run_set(&p->run, va, slot, with_rights(*slot, p->prot, p->key));
    return true;
}

static void protect_pages(struct mm *mm, u64 start, u64 end, u32 prot, u8 key) {
    struct protection p = {.prot = prot, .key = key};

    run_begin(&p.run, mm);
    walk(mm->root, start, end, &(struct visitor){.leaf = protect}, &p);
    run_end(&p.run);
}

int vma_protect(struct mm *mm, u64 start, u64 end, u32 prot, int key) {
    int error = isolate(mm, start, end);
    u64 at = start;

    if (error)
        return error;
    for (struct vma *v = vma_find(mm, start); v && v->start < end; v = v->next) {
        if (v->start != at)
            return -ENOMEM;             /* a hole */
        at = v->end;
    }
    if (at < end)
        return -ENOMEM;
    for (struct vma *v = vma_find(mm, start), *next; v && v->start < end; v = next) {
        next = v->next;
        u8 new_key = key < 0 ? v->key : (u8)key;
        if (v->prot == prot && v->key == new_key)
            continue;
        v->prot = prot;
        v->key = new_key;
        protect_pages(mm, v->start, v->end, prot, new_key);
    }
    merge(mm, start, end);
    return 0;
}
