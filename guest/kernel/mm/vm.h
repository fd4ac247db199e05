/* A program's address space. */
#ifndef VM_H
#define VM_H

#include "pte.h"
#include "types.h"

struct inode;

#define PTE_KEPT (1UL << 9)     /* in a leaf entry: the page is held, but no access is allowed (PROT_NONE) */

/* One range with one meaning; sorted, disjoint. */
struct vma {
    u64 start, end;
    u32 prot;                   /* PROT_* */
    u8 key;                     /* of protection: pkey_mprotect */
    bool shared;
    bool sealed;                /* shared with a file that was opened for reading: never writable */
    bool grows;                 /* downwards, as a stack */
    struct inode *inode;        /* NULL: anonymous */
    u64 offset;                 /* in the file, of `start` */
    struct vma *next, *previous;
};

#define MMAP_BOTTOM 0x10000UL    /* vm.mmap_min_addr: so that NULL stays a mistake */

#define KIB(pages) ((pages) * 4)

struct mm {
    struct vma *first, *last, *recent;
    pte_t *root;
    u64 as;                     /* the platform's handle */
    u64 brk_start, brk;
    u64 stack_top, mmap_top;    /* from where the stack grows, and mappings are placed, downwards */
    u64 arguments, environment, strings_end;    /* the strings on the first stack */
    u64 pages, most;            /* present, and the most before some went: for statistics */
    u32 refs;
    bool has_been_told;         /* why it may not have the rights that it asked for (code.c) */
};

enum access { ACCESS_READ, ACCESS_WRITE, ACCESS_EXEC };
enum fault { FAULT_DONE, FAULT_SEGV, FAULT_BUS, FAULT_NO_MEMORY };

/* mm.c */
struct mm *mm_create(void);
struct mm *mm_copy(struct mm *);                        /* each page shared until one side writes; NULL without memory */
void mm_put(struct mm *);
void mappings_truncate(const struct inode *, u64 size); /* the file ends there now: unmap the pages behind its end */
bool is_shared_writable(const struct inode *);          /* has a mapping that writes into the file, or may */

/* vma.c: ranges are page-aligned.  0 or -errno. */
struct vma *vma_find(struct mm *, u64 va);              /* the first that ends behind va */
int vma_add(struct mm *, const struct vma *like);        /* where nothing is */
int vma_remove(struct mm *, u64 start, u64 end);
int vma_protect(struct mm *, u64 start, u64 end, u32 prot, int key);   /* key -1: as it is */
u64 mm_size(const struct mm *, u64 start, u64 end);     /* how much of that is mapped */
u64 vma_gap(struct mm *, u64 size);                     /* where that much is free, top down; 0 if nowhere */
bool vma_is_free(struct mm *, u64 start, u64 end);
bool vma_grow(struct vma *, u64 va, u64 limit);         /* down to va, where its neighbour and the limit let it */
int vma_become(struct mm *, u64 start, u64 end, struct inode *, u64 offset);      /* the same bytes, from another file */
void vma_zap(struct mm *, u64 start, u64 end);          /* drop the pages; the ranges stay */

/* fault.c */
void faults_init(void);
enum fault vm_fault(struct mm *, u64 va, enum access);
void *user_page(struct mm *, u64 va, enum access);      /* where va's byte lies in the direct map; NULL = EFAULT */
u8 *text_page(u64 va);                                  /* for the platform: a private copy that may be patched */

/* pagetable.c */
pte_t *pte_find(struct mm *, u64 va);                   /* the leaf entry, or NULL if its table is missing */
pte_t *pte_make(struct mm *, u64 va);                   /* … made if missing; NULL without memory */
void tables_free(struct mm *);

/* Consecutive entries that the kernel reports to the platform in one call. */
#define RUN_MAX 32
struct pte_run { struct mm *mm; u64 va, count; bool stale; pte_t entry[RUN_MAX]; u64 drop[RUN_MAX]; u64 drops; };
void run_begin(struct pte_run *, struct mm *);
void run_set(struct pte_run *, u64 va, pte_t *slot, pte_t entry);
void run_drop(struct pte_run *, u64 physical);          /* drop a reference to this page after the platform has been told */
void run_end(struct pte_run *);

/* usercopy.c: user memory, through the direct map.  0 or -EFAULT. */
int copy_in(void *to, u64 from, u64 n);
int copy_out(u64 to, const void *from, u64 n);
int copy_out_to(struct mm *, u64 to, const void *from, u64 n);
i64 copy_in_string(char *to, u64 from, u64 size);       /* length, -EFAULT or -ENAMETOOLONG */
i64 user_string_length(u64 from, u64 size);              /* without its end; -EFAULT or -ENAMETOOLONG */
int clear_user(u64 to, u64 n);

#endif
