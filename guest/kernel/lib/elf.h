/* Executable files.
 * Source: ELF-64 Object File Format; System V ABI, "Sections", "Symbol Table". */
#ifndef ELF_H
#define ELF_H

#include "types.h"

struct elf_header {
    u8 ident[16];
    u16 type, machine;
    u32 version;
    u64 entry, phoff, shoff;
    u32 flags;
    u16 ehsize, phentsize, phnum, shentsize, shnum, shstrndx;
};
struct elf_segment { u32 type, flags; u64 offset, vaddr, paddr, filesz, memsz, align; };
struct elf_section { u32 name, type; u64 flags, addr, offset, size; u32 link, info; u64 align, entsize; };
struct elf_symbol { u32 name; u8 info, other; u16 section; u64 value, size; };

#define ELF_MAGIC "\177ELF\2\1"        /* 64 bits, little-endian */

enum { ET_EXEC = 2, ET_DYN = 3, EM_X86_64 = 62 };
enum { PT_LOAD = 1, PT_DYNAMIC = 2, PT_INTERP = 3, PF_X = 1, PF_W = 2, PF_R = 4 };
enum { SHT_PROGBITS = 1, SHT_SYMTAB = 2, SHT_DYNSYM = 11, SHT_UNWIND = 0x70000001, STT_FUNC = 2 };

#endif
