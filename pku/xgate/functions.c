/* Where the functions of a program or a library begin, and how long they are: from its symbols, and from .eh_frame,
 * which a stripped file keeps.  All of it is read from the file: what is mapped may have been changed.
 *
 *   .eh_frame   │ CIE │ FDE │ FDE │ CIE │ …     each: length u32, id u32, …; a CIE's id is 0
 *   FDE         │ length │ distance back to its CIE │ begin │ size │ …
 *
 * Source: System V ABI, "Sections", "Symbol Table"; Linux Standard Base, "Exception Frames".
 */
#include "fs/inode.h"
#include "lib/elf.h"
#include "mm/code.h"
#include "mm/vm.h"
#include "task/process.h"
#include "xgate.h"

#define PCREL_SDATA4 0x1b

typedef void found(u64 va, u64 size);

static struct inode *file;
static u8 window[PAGE_SIZE];    /* what was read of it last */
static u64 window_at, window_size;

static bool read_at(void *to, u64 n, u64 at) { return inode_read(file, to, n, at) == (i64)n; }

/* A little-endian word of the file, 0 behind its end. */
static u64 word_at(u64 at, u32 size) {
    u64 value = 0;

    if (at < window_at || at + size > window_at + window_size) {
        i64 n = inode_read(file, window, sizeof window, at);
        window_at = at;
        window_size = n > 0 ? (u64)n : 0;
    }
    if (window_size >= size)
        memcpy(&value, window + (at - window_at), size);
    return value;
}

static u64 uleb(u64 *at) {
    u64 value = 0, byte, shift = 0;

    do {
        byte = word_at((*at)++, 1);
        value |= (byte & 127) << shift;
        shift += 7;
    } while (byte & 128 && shift < 63);
    return value;
}

/* Does this CIE say that its FDEs hold 32-bit distances? */
static bool cie_is_usual(u64 cie) {
    u64 at = cie + 9, data;

    if (word_at(cie + 4, 4) || word_at(at, 1) != 'z')
        return false;
    u64 letters = at + 1;
    while (word_at(at++, 1))
        ;
    uleb(&at);                                  /* code alignment, data alignment, return address */
    uleb(&at);
    uleb(&at);
    uleb(&at);                                  /* length of what follows */
    for (data = at;; letters++)
        switch (word_at(letters, 1)) {
        case 'R': return word_at(data, 1) == PCREL_SDATA4;
        case 'P': data += word_at(data, 1) & 7 ? 5 : 9; break;
        case 'L': data++; break;
        default: return false;
        }
}

/* `bias`: what is to be added to an address in the file's section at `at` for one in memory. */
static void frames(u64 at, u64 size, u64 bias, found *tell) {
    u64 known = 0;
    bool usual = false;

    for (u64 end = at + size, length; at + 16 <= end; at += length + 4) {
        length = word_at(at, 4);
        u64 id = word_at(at + 4, 4);
        if (!length || length == 0xffffffff)
            return;
        if (!id)
            continue;
        if (at + 4 - id != known) {
            known = at + 4 - id;
            usual = cie_is_usual(known);
        }
        if (usual)
            tell(at + 8 + bias + (u64)(i64)(i32)word_at(at + 8, 4), word_at(at + 12, 4));
    }
}

static void symbols(const struct elf_section *s, u64 bias, found *tell) {
    struct elf_symbol y;

    for (u64 at = 0; at + sizeof y <= s->size && read_at(&y, sizeof y, s->offset + at); at += sizeof y)
        if ((y.info & 15) == STT_FUNC && y.section && y.size)
            tell(y.value + bias, y.size);
}

static bool is_eh_frame(const struct elf_section *names, u32 name) {
    char text[10];
    return read_at(text, sizeof text, names->offset + name) && !strcmp(text, ".eh_frame");
}

/* The mapping at `va` shows text of the file from `offset` on: what is added to the addresses in the file. */
static bool find_bias(const struct elf_header *h, u64 va, u64 offset, u64 *bias) {
    struct elf_segment s;

    for (u64 i = 0; i < h->phnum && read_at(&s, sizeof s, h->phoff + sizeof s * i); i++)
        if (s.type == PT_LOAD && s.flags & PF_X && offset >= ROUND_DOWN(s.offset, PAGE_SIZE) && offset < s.offset + s.filesz) {
            *bias = va - (s.vaddr + (offset - s.offset));
            return true;
        }
    return false;
}

void functions_of(u64 va, found *tell) {
    const struct vma *v = vma_find(current->process->mm, va);
    struct elf_section names, s;
    struct elf_header h;
    u64 bias;

    if (!v || v->start > va || !v->inode)
        return;
    file = (struct inode *)file_of(v->inode);
    window_size = 0;
    if (!read_at(&h, sizeof h, 0) || memcmp(h.ident, ELF_MAGIC, 6) || !find_bias(&h, va, v->offset + (va - v->start), &bias))
        return;
    if (!h.shnum || !read_at(&names, sizeof names, h.shoff + sizeof names * h.shstrndx))
        return;
    for (u64 i = 0; i < h.shnum && read_at(&s, sizeof s, h.shoff + sizeof s * i); i++) {
        if (s.type == SHT_SYMTAB || s.type == SHT_DYNSYM)
            symbols(&s, bias, tell);
        else if (s.addr && (s.type == SHT_PROGBITS || s.type == SHT_UNWIND) && is_eh_frame(&names, s.name))
            frames(s.offset, s.size, bias + s.addr - s.offset, tell);
    }
}
