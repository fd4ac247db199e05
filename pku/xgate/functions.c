/* Where the functions of a program begin, and how long they are: from its symbols, and from .eh_frame,
 * which a stripped program keeps.
 *
 *   .eh_frame   │ CIE │ FDE │ FDE │ CIE │ …     each: length u32, id u32, …; a CIE's id is 0
 *   FDE         │ length │ distance back to its CIE │ begin │ size │ …
 *
 * Source: System V ABI, "Sections", "Symbol Table"; Linux Standard Base, "Exception Frames".
 */
#include "fs/inode.h"
#include "mm/vm.h"
#include "task/process.h"
#include "xgate.h"

#define SHT_PROGBITS 1
#define SHT_SYMTAB 2
#define SHT_UNWIND 0x70000001
#define STT_FUNC 2
#define PT_LOAD 1
#define PCREL_SDATA4 0x1b

struct section { u32 name, type; u64 flags, addr, offset, size; u32 link, info; u64 align, entsize; };
struct symbol { u32 name; u8 info, other; u16 section; u64 value, size; };
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

static void symbols(struct inode *file, const struct section *s, u64 bias, found *tell) {
    struct symbol y;

    for (u64 at = 0; at + sizeof y <= s->size; at += sizeof y)
        if (read_at(file, &y, sizeof y, s->offset + at) && (y.info & 15) == STT_FUNC && y.section && y.size)
            tell(y.value + bias, y.size);
}

static bool is_eh_frame(struct inode *file, const struct section *names, u32 name) {
    char text[10];
    return read_at(file, text, sizeof text, names->offset + name) && !strcmp(text, ".eh_frame");
}

void functions_of_program(found *tell) {
    struct vma *first = current->process->mm->first;
    struct section names, s;
    u64 phoff, shoff, lowest = ~0UL;
    u16 phnum = 0, shnum = 0, shstrndx = 0;

    if (!first || !first->inode || user_word(first->start, 4) != 0x464c457f)
        return;
    phoff = user_word(first->start + 32, 8);
    shoff = user_word(first->start + 40, 8);
    phnum = (u16)user_word(first->start + 56, 2);
    shnum = (u16)user_word(first->start + 60, 2);
    shstrndx = (u16)user_word(first->start + 62, 2);
    for (u64 i = 0; i < phnum; i++)
        if (user_word(first->start + phoff + 56 * i, 4) == PT_LOAD)
            lowest = MIN(lowest, ROUND_DOWN(user_word(first->start + phoff + 56 * i + 16, 8), PAGE_SIZE));
    u64 bias = first->start - lowest;
    if (!shnum || !read_at(first->inode, &names, sizeof names, shoff + sizeof names * shstrndx))
        return;
    for (u64 i = 0; i < shnum && read_at(first->inode, &s, sizeof s, shoff + sizeof s * i); i++) {
        if (s.type == SHT_SYMTAB)
            symbols(first->inode, &s, bias, tell);
        else if (s.addr && (s.type == SHT_PROGBITS || s.type == SHT_UNWIND) && is_eh_frame(first->inode, &names, s.name))
            frames(s.addr + bias, s.size, tell);
    }
}
