/* Map a program's segments; the platform scans and rewrites the executable ones. */
#include "program.h"

#include "fs/inode.h"
#include "kernel.h"
#include "linux.h"
#include "mm/code.h"
#include "mm/slab.h"
#include "platform/keys.h"
#include "process.h"

#define STACK_ROOM (8UL << 20)   /* where no segment may be */
#define MOST_ALIGN (1UL << 30)

int read_headers(struct program *p, struct inode *i) {
    struct elf_header *h = &p->header;
    u64 size;

    p->inode = i;
    if (inode_read(p->inode, h, sizeof *h, 0) != sizeof *h || memcmp(h->ident, ELF_MAGIC, 6) != 0)
        return -ENOEXEC;
    size = (u64)h->phnum * sizeof *p->segment;
    if ((h->type != ET_EXEC && h->type != ET_DYN) || h->machine != EM_X86_64 || h->phentsize != sizeof *p->segment)
        return -ENOEXEC;
    if (h->phnum == 0 || h->phnum > MAX_SEGMENTS || inode_read(p->inode, p->segment, size, h->phoff) != (i64)size)
        return -ENOEXEC;
    return 0;
}

int find_loader(const struct program *p, struct program **found) {
    const struct elf_segment *s = p->segment, *end = s + p->header.phnum;
    struct program *loader;
    struct inode *i;
    char path[256];

    while (s < end && s->type != PT_INTERP)
        s++;
    if (s == end)
        return 0;
    if (s->filesz < 2 || s->filesz > sizeof path || inode_read(p->inode, path, s->filesz, s->offset) != (i64)s->filesz || path[s->filesz - 1])
        return -ENOEXEC;
    int error = name_lookup(current->process->directory, path, true, &i);
    if (error)
        return error;
    if (!is_regular(i) || inode_may(i, MAY_EXEC))
        error = -EACCES;
    else if (!(loader = kmalloc(sizeof *loader)))
        error = -ENOMEM;
    else if ((error = read_headers(loader, i)))
        kfree(loader);
    if (error) {
        inode_put(i);
        return error == -ENOEXEC ? -ELIBBAD : error;
    }
    loader->is_loader = true;
    *found = loader;
    return 0;
}

/* Where the file's addresses begin in memory: a loader stands where a mapping would, a program far away from there. */
static int choose_base(struct program *p, struct mm *mm) {
    u64 lowest = ~0UL, highest = 0, align = PAGE_SIZE;

    p->base = 0;
    for (u32 i = 0; i < p->header.phnum; i++) {
        const struct elf_segment *s = &p->segment[i];
        if (s->type != PT_LOAD || !s->memsz)
            continue;
        if (s->vaddr >= USER_TOP || s->memsz >= USER_TOP)
            return -ENOEXEC;
        lowest = MIN(lowest, ROUND_DOWN(s->vaddr, PAGE_SIZE));
        highest = MAX(highest, s->vaddr + s->memsz);
        if (s->align > align && s->align <= MOST_ALIGN && !(s->align & (s->align - 1)))
            align = s->align;
    }
    if (!highest)
        return -ENOEXEC;
    if (p->header.type == ET_DYN && p->is_loader) {
        u64 size = ROUND_UP(highest - lowest, PAGE_SIZE), room = plat_room_for_stubs(size), gap = vma_gap(mm, size + room + align - PAGE_SIZE);
        if (!gap)
            return -ENOMEM;
        p->base = ROUND_UP(gap + room, align) - lowest;
    } else if (p->header.type == ET_DYN) {
        p->base = program_base(align);
    }
    p->entry = p->base + p->header.entry;
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
    error = check_rights(prot, false);
    const u32 first = prot & ~(u32)PROT_EXEC;           /* make_text() gives it */
    const struct vma content = {.start = start, .end = bytes_end, .prot = first, .inode = p->inode,
                                .offset = ROUND_DOWN(s->offset, PAGE_SIZE)};
    const struct vma zeros = {.start = bytes_end, .end = ROUND_UP(end, PAGE_SIZE), .prot = first};
    if (!error && content.start < content.end)
        error = vma_add(mm, &content);
    if (!error && zeros.start < zeros.end)
        error = vma_add(mm, &zeros);
    if (!error && s->filesz && end > file_end && file_end & PAGE_MASK)
        error = prot & PROT_WRITE ? clear_user(file_end, ROUND_UP(file_end, PAGE_SIZE) - file_end) : -ENOEXEC;     /* a loader uses the rest of the page */
    return error;
}

/* Only when all is mapped can the platform look at what is to be executable. */
static int make_text(const struct program *p, struct mm *mm) {
    int error = 0;

    for (u32 i = 0; i < p->header.phnum && !error; i++) {
        const struct elf_segment *s = &p->segment[i];
        u64 start = ROUND_DOWN(p->base + s->vaddr, PAGE_SIZE), end = ROUND_UP(p->base + s->vaddr + s->memsz, PAGE_SIZE);
        u64 bytes_end = s->filesz ? ROUND_UP(p->base + s->vaddr + s->filesz, PAGE_SIZE) : start;
        if (s->type != PT_LOAD || !(s->flags & PF_X))
            continue;
        if (start < bytes_end)
            error = (s->flags & PF_W ? make_executable : code_make)(mm, start, bytes_end - start, protection_of(s));
        if (!error && bytes_end < end)
            error = make_executable(mm, bytes_end, end - bytes_end, protection_of(s));
    }
    return error;
}

int map_segments(struct program *p, struct mm *mm) {
    int error = choose_base(p, mm);

    for (u32 i = 0; i < p->header.phnum && !error; i++)
        if (p->segment[i].type == PT_LOAD && p->segment[i].memsz)
            error = map_segment(p, mm, &p->segment[i]);
    return error ? error : make_text(p, mm);
}
