/* An address space as a whole: its beginning and its end. */
#include "kernel.h"
#include "page.h"
#include "slab.h"
#include "vm.h"

struct mm *mm_create(void) {
    struct mm *mm = kmalloc(sizeof *mm);

    if (!mm)
        return NULL;
    mm->refs = 1;
    mm->root = page_alloc_clear();
    if (mm->root && (mm->as = plat_as_create(mm->root)))
        return mm;
    if (mm->root)
        page_put(physical(mm->root));
    kfree(mm);
    return NULL;
}

void mm_put(struct mm *mm) {
    if (--mm->refs)
        return;
    vma_remove(mm, 0, USER_TOP);
    plat_as_destroy(mm->as);
    tables_free(mm);
    page_put(physical(mm->root));
    kfree(mm);
}
