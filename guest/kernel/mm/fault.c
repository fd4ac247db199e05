/* Demand paging: what happens at a page's first use, and at the first write to a shared one. */
#include "fs/inode.h"
#include "kernel.h"
#include "linux.h"
#include "page.h"
#include "platform/keys.h"
#include "task/process.h"
#include "vm.h"

#define FILE_AROUND 16          /* pages of a file that come with the one asked for */
#define ANONYMOUS_AROUND 4      /* pages of no file that do, unless around= says otherwise */
#define ANONYMOUS_MOST 16

static u64 anonymous_around;

void faults_init(void) {
    anonymous_around = option("around", ANONYMOUS_AROUND);
    if (!anonymous_around || anonymous_around > ANONYMOUS_MOST || anonymous_around & (anonymous_around - 1))
        panic("around=%lu: pages with a fault, a power of two up to %u", anonymous_around, ANONYMOUS_MOST);
}

static pte_t rights_of(const struct vma *v, bool writable) {
    return PTE_P | PTE_U | PTE_A | PTE_KEY(v->key) | (v->prot & PROT_EXEC ? 0 : PTE_NX) | (writable ? PTE_W | PTE_D : 0);
}

static bool allowed(const struct vma *v, enum access access) {
    if (access == ACCESS_WRITE)
        return v->prot & PROT_WRITE;
    if (access == ACCESS_EXEC)
        return v->prot & PROT_EXEC;
    return v->prot;             /* the hardware cannot forbid reading alone */
}

/* A private page of the mapping's own, with what the file or the shared page holds. */
static enum fault own_copy(struct mm *mm, const struct vma *v, u64 va, pte_t *slot, const void *content) {
    void *page = page_alloc_user();
    struct pte_run run;

    if (!page)
        return FAULT_NO_MEMORY;
    memcpy(page, content, PAGE_SIZE);
    run_begin(&run, mm);
    if (*slot & PTE_ADDRESS)
        run_drop(&run, *slot & PTE_ADDRESS);
    else
        mm->pages++;
    run_set(&run, va, slot, physical(page) | rights_of(v, v->prot & PROT_WRITE));
    run_end(&run);
    return FAULT_DONE;
}

/* A write to a page that is mapped read-only: the last holder of a page may keep it. */
static enum fault write_fault(struct mm *mm, const struct vma *v, u64 va, pte_t *slot) {
    u64 page = *slot & PTE_ADDRESS;
    struct pte_run run;

    if (!v->shared && page_refs(page) > 1)
        return own_copy(mm, v, va, slot, direct(page));
    run_begin(&run, mm);
    run_set(&run, va, slot, page | rights_of(v, true));
    run_end(&run);
    return FAULT_DONE;
}

static enum fault anonymous_fault(struct mm *mm, const struct vma *v, u64 va) {
    u64 around = ROUND_DOWN(va, anonymous_around * PAGE_SIZE);
    u64 start = MAX(around, v->start), end = MIN(around + anonymous_around * PAGE_SIZE, v->end);
    enum fault result = FAULT_DONE;
    struct pte_run run;

    run_begin(&run, mm);
    for (u64 at = start; at < end; at += PAGE_SIZE) {
        pte_t *slot = pte_make(mm, at);
        if (slot && *slot)
            continue;
        void *page = slot ? page_alloc_user_clear() : NULL;
        if (page) {
            run_set(&run, at, slot, physical(page) | rights_of(v, v->prot & PROT_WRITE));
            mm->pages++;
        } else if (at >= va) {          /* those behind it were a gift */
            result = at == va ? FAULT_NO_MEMORY : FAULT_DONE;
            break;
        }
    }
    run_end(&run);
    return result;
}

static enum fault file_fault(struct mm *mm, const struct vma *v, u64 va, enum access access) {
    u64 size = ROUND_UP(v->inode->size, PAGE_SIZE);
    u64 around = ROUND_DOWN(va, FILE_AROUND * PAGE_SIZE);
    u64 start = MAX(around, v->start), end = MIN(around + FILE_AROUND * PAGE_SIZE, v->end);
    enum fault result = FAULT_DONE;
    struct pte_run run;

    if (v->offset + (va - v->start) >= size)
        return FAULT_BUS;
    if (access == ACCESS_WRITE && !v->shared) {
        u64 page = inode_page(v->inode, (v->offset + (va - v->start)) >> PAGE_SHIFT);
        pte_t *slot = pte_make(mm, va);
        return page && slot ? own_copy(mm, v, va, slot, direct(page)) : FAULT_NO_MEMORY;
    }
    run_begin(&run, mm);
    for (u64 at = start; at < end && v->offset + (at - v->start) < size; at += PAGE_SIZE) {
        pte_t *slot = pte_make(mm, at);
        if (slot && *slot)
            continue;
        u64 page = slot ? inode_page(v->inode, (v->offset + (at - v->start)) >> PAGE_SHIFT) : 0;
        if (page) {
            page_get(page);
            run_set(&run, at, slot, page | rights_of(v, v->shared && v->prot & PROT_WRITE));
            mm->pages++;
        } else if (at == va) {
            result = v->inode->made ? FAULT_BUS : FAULT_NO_MEMORY;
        }
    }
    run_end(&run);
    return result;
}

enum fault vm_fault(struct mm *mm, u64 va, enum access access) {
    struct vma *v = va < plat_user_top() ? vma_find(mm, va) : NULL;

    va = ROUND_DOWN(va, PAGE_SIZE);
    if (v && va < v->start && !vma_grow(v, va, current->process->limits[RLIMIT_STACK].soft))
        return FAULT_SEGV;
    if (!v || !allowed(v, access))
        return FAULT_SEGV;
    pte_t *slot = pte_find(mm, va);
    if (slot && *slot & PTE_P)
        return access == ACCESS_WRITE && !(*slot & PTE_W) ? write_fault(mm, v, va, slot) : FAULT_DONE;
    if (!v->inode)
        return anonymous_fault(mm, v, va);
    /* The platform scanned this code when it was mapped.  What the file holds in its place now has not been scanned. */
    return v->prot & PROT_EXEC && plat_keeps_code_private() && !v->inode->made ? FAULT_BUS : file_fault(mm, v, va, access);
}

/* Two tries: a write to a file's page that is not there yet may map it first and copy it then. */
void *user_page(struct mm *mm, u64 va, enum access access) {
    pte_t need = PTE_P | PTE_U | (access == ACCESS_WRITE ? PTE_W : 0);

    if (va >= plat_user_top())
        return plat_foreign_pointer(va);
    for (int i = 0; i < 3; i++) {
        pte_t *slot = pte_find(mm, va);
        if (slot && (*slot & need) == need)
            return (u8 *)direct(*slot & PTE_ADDRESS) + (va & PAGE_MASK);
        if (vm_fault(mm, va, access) != FAULT_DONE)
            return NULL;
    }
    return NULL;
}

/* Bring in the page at `va`, which is to hold patched code, as a copy that no file and no other mapping shares. */
u8 *text_page(u64 va) {
    struct mm *mm = current->process->mm;
    struct vma *v = vma_find(mm, va);

    va = ROUND_DOWN(va, PAGE_SIZE);
    if (!v || va < v->start || (v->shared && plat_keeps_code_private()) || !user_page(mm, va, ACCESS_READ))
        return NULL;
    pte_t *slot = pte_find(mm, va);
    if (page_refs(*slot & PTE_ADDRESS) > 1 && plat_keeps_code_private() && own_copy(mm, v, va, slot, direct(*slot & PTE_ADDRESS)) != FAULT_DONE)
        return NULL;
    return direct(*slot & PTE_ADDRESS);
}
