/* An address space as a whole: its beginning and its end. */
#include "kernel.h"
#include "linux.h"
#include "page.h"
#include "platform/space.h"
#include "slab.h"
#include "task/process.h"
#include "vm.h"
#include "walk.h"

struct mm *mm_create(void) {
    struct mm *mm = kmalloc(sizeof *mm);

    if (!mm)
        return NULL;
    mm->refs = 1;
    if ((mm->root = page_alloc_clear()) && (mm->as = plat_as_create(mm->root)))
        return mm;
    if (mm->root)
        page_put(physical(mm->root));
    kfree(mm);
    return NULL;
}

struct copy { struct pte_run theirs, ours; bool shared, failed; };

static bool copy_page(u64 va, pte_t *from, void *arg) {
    struct copy *c = arg;
    pte_t entry = *from, *to;

    if (!entry)
        return true;
    if (!(to = pte_make(c->ours.mm, va))) {
        c->failed = true;
        return false;
    }
    if (!c->shared && entry & PTE_W)
        run_set(&c->theirs, va, from, entry &= ~PTE_W);
    page_get(entry & PTE_ADDRESS);
    run_set(&c->ours, va, to, entry);
    c->ours.mm->pages++;
    return true;
}

/* A private page that could be written is read-only in both from here on. */
static bool copy_pages(struct mm *old, struct mm *new, const struct vma *v) {
    struct copy c = {.shared = v->shared};

    run_begin(&c.theirs, old);
    run_begin(&c.ours, new);
    walk(old->root, v->start, v->end, &(struct visitor){.leaf = copy_page}, &c);
    run_end(&c.theirs);
    run_end(&c.ours);
    return !c.failed;
}

struct mm *mm_copy(struct mm *old) {
    struct mm *new = mm_create();

    if (!new)
        return NULL;
    new->brk_start = old->brk_start;
    new->brk = old->brk;
    new->stack_top = old->stack_top;
    new->mmap_top = old->mmap_top;
    new->arguments = old->arguments;
    new->environment = old->environment;
    new->strings_end = old->strings_end;
    for (const struct vma *v = old->first; v; v = v->next)
        if (vma_add(new, v) || !copy_pages(old, new, v)) {
            mm_put(new);
            return NULL;
        }
    return new;
}

bool is_shared_writable(const struct inode *i) {
    for (const struct process *p = processes; p; p = p->next)
        for (const struct vma *v = p->mm ? p->mm->first : NULL; v; v = v->next)
            if (v->inode == i && v->shared && !v->sealed)
                return true;
    return false;
}

void mappings_truncate(const struct inode *i, u64 size) {
    size = ROUND_UP(size, PAGE_SIZE);
    for (const struct process *p = processes; p; p = p->next)
        for (const struct vma *v = p->mm ? p->mm->first : NULL; v; v = v->next)
            if (v->inode == i && v->offset + (v->end - v->start) > size)
                vma_zap(p->mm, v->start + (MAX(size, v->offset) - v->offset), v->end);
}

void mm_put(struct mm *mm) {
    if (--mm->refs)
        return;
    if (mm->as)
        plat_as_destroy(mm->as);
    mm->as = 0;                         /* no processor uses it any more, so the platform need not hear of each page */
    vma_remove(mm, 0, USER_TOP);
    tables_free(mm);
    page_put(physical(mm->root));
    kfree(mm);
}
