/* What the platform made of a file's executable pages (code.h). */
#include "code.h"

#include "fs/inode.h"
#include "kernel.h"
#include "linux.h"
#include "page.h"
#include "platform/keys.h"
#include "slab.h"
#include "task/process.h"
#include "vm.h"

int check_rights(u32 prot, bool shared) {
    int error = plat_check_protection(prot & PROT_WRITE, prot & PROT_EXEC, shared);
    struct mm *mm = current->process->mm;

    if (error && !mm->has_been_told)
        print("%s[%d]: refused memory that is both %s and executable; a program may change the rights of private memory from one "
              "to the other with mprotect()", current->name, current->process->pid, prot & PROT_WRITE ? "writable" : "shared");
    mm->has_been_told |= error != 0;
    return error;
}

const struct inode *file_of(const struct inode *i) { return is_regular(i) && i->made ? i->made->file : i; }

bool is_stub(const struct vma *v) {
    return v->inode && is_regular(v->inode) && v->inode->made && v->offset >= v->inode->made->stubs;
}

void code_forget(struct inode *file) {
    struct inode *code = file->code, *next;

    file->code = NULL;
    for (; code; code = next) {
        next = code->made->next;
        inode_put(code);
    }
}

static struct inode *code_find(const struct inode *file, u64 start, u64 size) {
    struct inode *code = file->code;

    while (code && (code->made->start != start || code->made->size != size))
        code = code->made->next;
    return code;
}

/* Let the code have the pages of [va, va + size), from `offset` on; where the file has ended there are none. */
static bool adopt(struct mm *mm, struct inode *code, u64 va, u64 size, u64 offset) {
    for (u64 done = 0; done < size; done += PAGE_SIZE) {
        const pte_t *slot = pte_find(mm, va + done);
        if (slot && *slot && !inode_adopt(code, (offset + done) >> PAGE_SHIFT, *slot & PTE_ADDRESS))
            return false;
    }
    return true;
}

static struct inode *code_new(struct inode *file, u64 start, u64 size) {
    struct inode *code = inode_new(S_IFREG | 0500);

    if (code && !(code->made = kmalloc(sizeof *code->made))) {
        inode_put(code);
        return NULL;
    }
    if (!code)
        return NULL;
    inode_get(file);
    *code->made = (struct code){.file = file, .start = start, .size = size, .stubs = MAX(ROUND_UP(file->size, PAGE_SIZE), start + size)};
    return code;
}

/* Without memory it is not kept, and made again the next time. */
static void code_keep(struct mm *mm, u64 at, u64 size, struct inode *file, u64 offset, const struct stubs *stubs) {
    struct inode *code = code_new(file, offset, size);

    if (!code)
        return;
    struct code *made = code->made;
    made->stubs_size = stubs->size;
    made->distance = at - stubs->start;
    code->size = made->stubs + made->stubs_size;
    if (adopt(mm, code, at, size, offset) && adopt(mm, code, stubs->start, stubs->size, made->stubs) &&
        !vma_become(mm, at, at + size, code, offset) && !vma_become(mm, stubs->start, stubs->start + stubs->size, code, made->stubs)) {
        made->next = file->code;
        file->code = code;
    } else {
        inode_put(code);
    }
}

/* The stubs go where this code jumps to: there is room, or they are there already.  0, -EEXIST or -ENOMEM. */
static int map_stubs(struct mm *mm, u64 at, struct inode *code) {
    const struct code *made = code->made;
    const struct vma stubs = {.start = at - made->distance, .end = at - made->distance + made->stubs_size, .prot = PROT_READ | PROT_EXEC,
                              .inode = code, .offset = made->stubs};
    const struct vma *there = vma_find(mm, stubs.start);

    if (!made->stubs_size || (there && there->inode == code && there->start == stubs.start && there->end == stubs.end && there->prot == stubs.prot))
        return 0;
    if (stubs.start >= at || stubs.start < MMAP_BOTTOM || !vma_is_free(mm, stubs.start, stubs.end))
        return -EEXIST;
    return vma_add(mm, &stubs);
}

static int code_map(struct mm *mm, u64 at, u64 size, u32 prot, struct inode *code) {
    const struct code *made = code->made;
    int error = map_stubs(mm, at, code);

    if (!error)
        error = vma_become(mm, at, at + size, code, made->start);
    if (!error)
        error = vma_protect(mm, at, at + size, prot, -1);
    if (!error && !(plat_fits_beside(at, size) && plat_fits_beside(at - made->distance, made->stubs_size)))
        error = -EACCES;
    return error;
}

int make_executable(struct mm *mm, u64 at, u64 size, u32 prot) {
    struct stubs stubs = {0, 0};
    int made = plat_make_executable(at, size >> PAGE_SHIFT, &stubs);

    return made < 0 ? made : vma_protect(mm, at, at + size, prot, -1);
}

int code_make(struct mm *mm, u64 at, u64 size, u32 prot) {
    const struct vma *v = vma_find(mm, at);
    struct inode *file = v->inode;
    u64 offset = v->offset + (at - v->start), end = ROUND_UP(file->size, PAGE_SIZE);
    u64 there = offset < end ? MIN(size, end - offset) : 0;     /* behind the file's end is nothing to look at, and never will be */
    struct inode *code = code_find(file, offset, size);
    struct stubs stubs = {0, 0};

    int error = code ? code_map(mm, at, size, prot, code) : -EEXIST;
    if (error != -EEXIST)
        return error;
    int made = there ? plat_make_executable(at, there >> PAGE_SHIFT, &stubs) : 0;
    if (made < 0 || (error = vma_protect(mm, at, at + size, prot, -1)))
        return made < 0 ? made : error;
    if (made && !code && !is_shared_writable(file))     /* it could change behind our back */
        code_keep(mm, at, size, file, offset, &stubs);
    return 0;
}
