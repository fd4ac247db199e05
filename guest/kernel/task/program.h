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
    bool is_loader;
};

/* program.c: 0 or -errno */
int read_headers(struct program *, struct inode *);
int find_loader(const struct program *, struct program **);        /* NULL: it has none; `inode` comes with a reference */
int map_segments(struct program *, struct mm *);

/* layout.c: where what can be anywhere goes.  Always to the same place, or with `--seed` to one that the seed chooses. */
struct process;
void place(struct mm *, const struct process *);        /* the stack, and what is mapped without an address */
u64 program_base(u64 align);                            /* of the current process */
u64 heap_behind(u64 end, const struct process *);

#endif
