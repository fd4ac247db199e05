/* Where the functions of a program begin, and how long they are: from its symbols, and from .eh_frame,
 * which a stripped program keeps.
 *
 *   .eh_frame   │ CIE │ FDE │ FDE │ CIE │ …     each: length u32, id u32, …; a CIE's id is 0
 *   FDE         │ length │ distance back to its CIE │ begin │ size │ …
 *
 * Source: System V ABI, "Sections", "Symbol Table"; Linux Standard Base, "Exception Frames".
 */
#include "fs/inode.h"
#include "lib/elf.h"
#include "mm/vm.h"
#include "task/process.h"
#include "xgate.h"

#define PCREL_SDATA4 0x1b

typedef void found(u64 va, u64 size);

static bool read_at(struct inode *file, void *to, u64 n, u64 at) { return inode_read(file, to, n, at) == (i64)n; }

static u64 uleb(u64 *at) {
    u64 value = 0, byte, shift = 0;

    do {
        byte = user_word((*at)++, 1);
        value |= (byte & 127) << shift;
        shift += 7;
    } while (byte & 128 && shift < 63);
    return value;
}

/* Does this CIE say that its FDEs hold 32-bit distances? */
static bool cie_is_usual(u64 cie) {
    u64 at = cie + 9, data;

    if (user_word(cie + 4, 4) || user_word(at, 1) != 'z')
        return false;
    u64 letters = at + 1;
    while (user_word(at++, 1))
        ;
    uleb(&at);                                  /* code alignment, data alignment, return address */
    uleb(&at);
    uleb(&at);
    uleb(&at);                                  /* length of what follows */
    for (data = at;; letters++)
        switch (user_word(letters, 1)) {
        case 'R': return user_word(data, 1) == PCREL_SDATA4;
        case 'P': data += user_word(data, 1) & 7 ? 5 : 9; break;
        case 'L': data++; break;
        default: return false;
        }
}

static void frames(u64 at, u64 size, found *tell) {
    u64 known = 0;
    bool usual = false;

    for (u64 end = at + size, length; at + 16 <= end; at += length + 4) {
        length = user_word(at, 4);
        u64 id = user_word(at + 4, 4);
        if (!length || length == 0xffffffff)
            return;
        if (!id)
            continue;
        if (at + 4 - id != known) {
            known = at + 4 - id;
            usual = cie_is_usual(known);
        }
        if (usual)
            tell(at + 8 + (u64)(i64)(i32)user_word(at + 8, 4), user_word(at + 12, 4));
    }
}

static void symbols(struct inode *file, const struct elf_section *s, u64 bias, found *tell) {
    struct elf_symbol y;

    for (u64 at = 0; at + sizeof y <= s->size; at += sizeof y)
        if (read_at(file, &y, sizeof y, s->offset + at) && (y.info & 15) == STT_FUNC && y.section && y.size)
            tell(y.value + bias, y.size);
}

static bool is_eh_frame(struct inode *file, const struct elf_section *names, u32 name) {
    char text[10];
    return read_at(file, text, sizeof text, names->offset + name) && !strcmp(text, ".eh_frame");
}

void functions_of_program(found *tell) {
    struct vma *first = current->process->mm->first;
    struct elf_section names, s;
    struct elf_segment segment;
    struct elf_header h;
    u64 lowest = ~0UL;

    if (!first || !first->inode || copy_in(&h, first->start, sizeof h) || memcmp(h.ident, ELF_MAGIC, 6))
        return;
    for (u64 i = 0; i < h.phnum; i++)
        if (!copy_in(&segment, first->start + h.phoff + sizeof segment * i, sizeof segment) && segment.type == PT_LOAD)
            lowest = MIN(lowest, ROUND_DOWN(segment.vaddr, PAGE_SIZE));
    u64 bias = first->start - lowest;
    if (!h.shnum || !read_at(first->inode, &names, sizeof names, h.shoff + sizeof names * h.shstrndx))
        return;
    for (u64 i = 0; i < h.shnum && read_at(first->inode, &s, sizeof s, h.shoff + sizeof s * i); i++) {
        if (s.type == SHT_SYMTAB)
            symbols(first->inode, &s, bias, tell);
        else if (s.addr && (s.type == SHT_PROGBITS || s.type == SHT_UNWIND) && is_eh_frame(first->inode, &names, s.name))
            frames(s.addr + bias, s.size, tell);
    }
}
