/* Map a program's segments; the platform scans and rewrites the executable ones. */
#include "program.h"

#include "fs/inode.h"
#include "kernel.h"
#include "linux.h"
#include "platform/keys.h"

#define PIE_BASE 0x555555554000UL
#define STACK_ROOM (8UL << 20)   /* where no segment may be */

int read_headers(struct program *p) {
    struct elf_header *h = &p->header;
    u64 size;

    if (inode_read(p->inode, h, sizeof *h, 0) != sizeof *h || memcmp(h->ident, ELF_MAGIC, 6) != 0)
        return -ENOEXEC;
    size = (u64)h->phnum * sizeof *p->segment;
    if ((h->type != ET_EXEC && h->type != ET_DYN) || h->machine != EM_X86_64 || h->phentsize != sizeof *p->segment)
        return -ENOEXEC;
    if (h->phnum == 0 || h->phnum > MAX_SEGMENTS || inode_read(p->inode, p->segment, size, h->phoff) != (i64)size)
        return -ENOEXEC;
    p->base = h->type == ET_DYN ? PIE_BASE : 0;
    p->entry = p->base + h->entry;
    return 0;
}

static u32 protection_of(const struct elf_segment *s) {
    return (s->flags & PF_R ? PROT_READ : 0) | (s->flags & PF_W ? PROT_WRITE : 0) | (s->flags & PF_X ? PROT_EXEC : 0);
}

static int map_segment(struct program *p, struct mm *mm, const struct elf_segment *s) {
    u64 va = p->base + s->vaddr, start = ROUND_DOWN(va, PAGE_SIZE), file_end = va + s->filesz, end = va + s->memsz;
    u64 bytes_end = s->filesz ? ROUND_UP(file_end, PAGE_SIZE) : start;
    u32 prot = protection_of(s);
    int error;

    if (s->vaddr >= USER_TOP || s->memsz >= USER_TOP || end > USER_TOP - STACK_ROOM || s->filesz > s->memsz || start == 0)
        return -ENOEXEC;
    if ((s->offset ^ s->vaddr) & PAGE_MASK || s->offset + s->filesz < s->offset ||
        s->offset + s->filesz > p->inode->size || !vma_is_free(mm, start, ROUND_UP(end, PAGE_SIZE)))
        return -ENOEXEC;
    if (s->offset <= p->header.phoff && p->header.phoff < s->offset + s->filesz)
        p->headers = va + p->header.phoff - s->offset;
    p->end = MAX(p->end, ROUND_UP(end, PAGE_SIZE));
    if (prot & PROT_EXEC && p->inode->text)
        return 0;                       /* mm_take_text() brings it, as it was made for an earlier exec */
    error = plat_check_protection(prot & PROT_WRITE, prot & PROT_EXEC, false);
    const u32 first = prot & ~(u32)PROT_EXEC;           /* make_text() gives it when all has been looked at */
    const struct vma content = {.start = start, .end = bytes_end, .prot = first, .inode = p->inode,
                                .offset = ROUND_DOWN(s->offset, PAGE_SIZE)};
    const struct vma zeros = {.start = bytes_end, .end = ROUND_UP(end, PAGE_SIZE), .prot = first};
    if (!error && content.start < content.end)
        error = vma_add(mm, &content);
    if (!error && zeros.start < zeros.end)
        error = vma_add(mm, &zeros);
    if (!error && s->filesz && end > file_end && file_end & PAGE_MASK)
        error = prot & PROT_WRITE ? clear_user(file_end, MIN(end, ROUND_UP(file_end, PAGE_SIZE)) - file_end) : -ENOEXEC;
    return error;
}

/* Let the platform look at all that is to be executable, and remember what it made of it. */
static int make_text(const struct program *p, struct mm *mm) {
    bool keep = false;

    for (u32 i = 0; i < p->header.phnum; i++) {
        const struct elf_segment *s = &p->segment[i];
        u64 start = ROUND_DOWN(p->base + s->vaddr, PAGE_SIZE), end = ROUND_UP(p->base + s->vaddr + s->memsz, PAGE_SIZE);
        if (s->type != PT_LOAD || !(s->flags & PF_X) || !s->memsz)
            continue;
        int made = plat_make_executable(mm->as, start, (end - start) >> PAGE_SHIFT);
        int error = made < 0 ? made : vma_protect(mm, start, end, protection_of(s), -1);
        if (error)
            return error;
        keep |= made;
    }
    if (keep && !is_shared_writable(p->inode))     /* it could change behind our back */
        p->inode->text = mm_keep_text(mm);
    return 0;
}

int map_segments(struct program *p, struct mm *mm) {
    int error = 0;

    for (u32 i = 0; i < p->header.phnum && !error; i++) {
        if (p->segment[i].type == PT_INTERP)
            return -ENOEXEC;            /* dynamic: no interpreter here */
        if (p->segment[i].type == PT_LOAD && p->segment[i].memsz)
            error = map_segment(p, mm, &p->segment[i]);
    }
    if (!error)
        error = p->inode->text ? mm_take_text(mm, p->inode->text) : make_text(p, mm);
    return error ? error : p->end ? 0 : -ENOEXEC;
}
