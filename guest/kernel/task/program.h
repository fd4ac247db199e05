/* A program: what its ELF file says of it. */
#ifndef PROGRAM_H
#define PROGRAM_H

#include "lib/elf.h"
#include "mm/vm.h"
#include "types.h"

#define MAX_SEGMENTS 64

struct inode;

struct program {
    struct inode *inode;
    struct elf_header header;
    struct elf_segment segment[MAX_SEGMENTS];
    u64 base, entry, headers, end;      /* base: what is added to the file's addresses */
};

/* program.c: 0 or -errno */
int read_headers(struct program *);                     /* of `inode` */
int map_segments(struct program *, struct mm *);

#endif
