/* Executable pages of files.
 *
 * What the platform made of them when they were first mapped is a file of its own, without a name, which nobody can
 * open: the same bytes at the same offsets, looked through and rewritten, and behind them the stubs.
 *
 *   the file    │ headers │ text ────── │ data │
 *   its code    │         │ text, made  │      │ stubs │
 *   in memory                 stubs ── distance ── text
 *
 * The next mapping of that range maps the code in its place, wherever it is, as long as the stubs have room at their
 * distance.  A write to the file drops the code, and those who run it keep it.
 */
#ifndef CODE_H
#define CODE_H

#include "types.h"

struct inode;
struct mm;
struct vma;

struct code {
    struct inode *file;         /* counted */
    u64 start, size;            /* the range of the file */
    u64 distance;               /* from the stubs' address to the range's */
    u64 stubs, stubs_size;      /* where they are in the code */
    struct inode *next;         /* other code of the same file */
};

/* May the program have these rights together?  0 or -errno; the first time that it may not, the kernel says why. */
int check_rights(u32 prot, bool shared);

/* Give a private mapping of a file's that nobody has used yet its execute right.  0 or -errno. */
int code_make(struct mm *, u64 at, u64 size, u32 prot);
int make_executable(struct mm *, u64 at, u64 size, u32 prot);  /* the same for any other pages */
void code_forget(struct inode *file);                   /* it is about to change */
const struct inode *file_of(const struct inode *);      /* that a mapping shows: the file that a code is made of */
bool is_stub(const struct vma *);

#endif
