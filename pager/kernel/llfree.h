/* LLFree: a page allocator whose state a host can share.  trees.c chooses where, lower.c takes. */
#ifndef LLFREE_H
#define LLFREE_H

#include "hyperalloc.h"
#include "types.h"

#define LLFREE_NONE 0UL         /* frame 0 is never one of ours */
#define LLFREE_MOST_ORDER 10    /* two children */

/* They do not share a tree, as long as there are others: what the kernel keeps for itself, pages of programs and files, whole
 * children.  LLFree calls them immovable, movable and huge. */
enum kind { FIXED, MOVABLE, HUGE, KINDS };

struct llfree {
    u64 first, end;             /* its frames, by page number */
    u64 trees;
    u16 *children, *tree;       /* the host changes both … */
    u64 *fields;                /* … and this never */
    struct reserved { u64 tree; u32 free; } reserved[KINDS];       /* of the one processor that there is; NO_TREE */
    u64 last_tree;              /* where the last frame came back, */
    u32 in_a_row;               /* and how many there one after the other */
    bool (*install)(u64 child); /* have the host put memory behind an evicted child; false: it has none */
};

#define NO_TREE ~0UL

/* trees.c */
u64  llfree_size(u64 end);                                      /* bytes that it needs for itself */
void llfree_init(struct llfree *, void *memory, u64 first, u64 end);
u64  llfree_take(struct llfree *, u32 order, bool movable);                   /* the first frame of a block */
bool llfree_give(struct llfree *, u64 frame, u32 order);        /* false: it was not taken like that */
u64  llfree_free(const struct llfree *);                        /* frames */

/* lower.c: in the 8 children of a tree. */
u64  lower_take(struct llfree *, u64 tree, u32 order, bool evicted_too);
bool lower_give(struct llfree *, u64 frame, u32 order);

#endif
