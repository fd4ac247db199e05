/* Shadow paging: tables that the processor walks in place of a guest's own.
 *
 *   guest's tables    gva ──→ gpa      the guest writes them, the processor never sees them
 *   shadow tables     gva ──→ hpa      made from them when a page is first touched
 *
 * A guest's table that has shadows is mapped read-only, wherever it is mapped: a store to it traps, and what was
 * made from the entry goes.  Shadow tables are a cache: all of them can be dropped at any time and made again.
 *
 *   frame (of each host page) ──→ mappings    the shadow leaves that map it: the reverse map (rmap.c)
 *                             └─→ tables      the shadows made of it, if it is a table of the guest's
 *
 * Two policies.  Lazy, as KVM does: a table is protected when it is first shadowed, and a leaf table that is written is
 * let go until the guest flushes (sync.c).  Eager: a table is protected as soon as an entry leads to it, so that each
 * store to a table traps.
 */
#ifndef SHADOW_H
#define SHADOW_H

#include "platform/entry.h"
#include "pte.h"
#include "types.h"

#define PF_P 1UL                /* of a page fault's error code */
#define PF_WRITE 2UL
#define PF_USER 4UL
#define PF_RSVD 8UL
#define PF_FETCH 16UL
#define PF_KEY 32UL

/* Which of the guest's pages a table shows, and with what rights. */
enum kind {
    SHADOW_SUPERVISOR,          /* all; at ring 3, so user pages are not executable: SMEP */
    SHADOW_USER,                /* user pages alone */
    SHADOW_WHOLE,               /* all, for a guest that has its rings: U is as it says */
    SHADOW_KINDS
};

struct link { pte_t *entry; struct link *next; };

struct shadow {
    pte_t *table;
    struct shadow *next;        /* of the same frame */
    struct link *parents;       /* the entries that lead here */
    u64 gpa;                    /* of the guest's table */
    u8 level, kind;
    bool user;                  /* the entries above let the user through */
    bool direct;                /* of no table, but of a part of a page that is larger than ours */
    bool root;
    u8 floods;                  /* stores since it was last walked */
};

/* One for each page of host memory. */
struct frame {
    struct link *mappings;
    struct shadow *tables;      /* of a shadow table's own page: that shadow */
    struct frame *next_unsynced;
    u64 gpa;                    /* where it is bound */
    bool unsynced;              /* a leaf table that may be written: its shadows may be out of date */
};

/* Nodes of one size, carved out of pages. */
struct pool { void *free, *pages; u64 size; };

/* An address space of the guest's, with its roots: those of the kinds from FIRST_KIND to LAST_KIND. */
#define SPACES 16
struct space { u64 cr3; struct shadow *root[SHADOW_KINDS]; u64 used; };

#define NO_TABLES ~0UL          /* in place of CR3: paging is off, and addresses are guest-physical */

struct shadows {
    struct pool links, tables;
    struct space spaces[SPACES];
    struct space *current;
    struct frame *unsynced;
    u64 clock;
    u32 count;                  /* tables */
    u32 ahead;                  /* tables that may be filled ahead of their use before the guest runs on (ahead.c) */
    bool eager;
    bool flush;                 /* the TLB may hold what a shadow no longer says */
    bool stale;                 /* … or rights to a page that a guest need not have flushed yet */
};

/* One instruction uses two pages of code, two each of two operands, each by three tables below a root: with fewer it may never end. */
#define TABLES_LEAST (18 + SHADOW_KINDS)

/* What the guest's own tables say of an address. */
struct translation {
    u64 gpa;                    /* of the page */
    int level;                  /* of the entry that maps it */
    u64 table[TABLE_LEVELS + 1];        /* guest-physical, by level */
    pte_t entry[TABLE_LEVELS + 1];
    bool user;                  /* at all levels */
};

/* frames.c */
void frames_init(u64 *from, u64 pages);         /* room for so many; moves *from behind it */
struct frame *frame_of(u64 hpa);
void frame_clear(u64 hpa, u64 gpa);             /* a page that is bound now */
u64 guest_page(u64 gpa);                        /* its host-physical address; 0: the guest has no such page, or there is no memory */

/* pool.c: charged to the container. */
void *node_alloc(struct pool *);                /* NULL without memory */
void node_free(struct pool *, void *);
void pool_free(struct pool *);                  /* all of it */

/* guest_walk.c: walk the guest's tables as the processor would, and set A and D.  `error`: what is wanted, and on failure
 * what the processor would push. */
bool guest_walk(u64 cr3, u64 va, u64 *error, struct translation *);

/* shadow.c */
void shadows_begin(struct shadows *, bool eager);
void shadows_end(struct shadows *);
void shadows_drop(struct shadows *);            /* all but the current roots, which become empty */
bool space_enter(struct shadows *, u64 cr3);            /* it is `current`; false without memory, or where cr3 is no page of the guest's */
struct shadow *shadow_of(struct shadows *, const struct shadow *parent, u64 gpa, bool user);   /* a child: found or made; NULL */
struct shadow *shadow_direct(struct shadows *, const struct shadow *parent);     /* a child that maps a part of a large page; NULL */
struct shadow *shadow_child(pte_t entry);       /* that it leads to */
bool shadow_link(struct shadows *, pte_t *entry, struct shadow *child, pte_t rights);
u64 shadow_entries(const struct shadow *);      /* that are the guest's: a root has the host's behind them */
void shadow_zap(struct shadows *, struct shadow *, u64 index);
bool unshadow(struct shadows *, struct frame *);        /* it is an ordinary page again; false: a current root stays */

/* fill.c.  FILL_TABLE: a store to a table of the guest's, which nobody has done yet. */
enum fill { FILLED, FILL_TABLE, FILL_OUTSIDE, FILL_NO_MEMORY };
enum fill shadow_fill(struct shadows *, struct shadow *root, u64 va, const struct translation *, bool write);
enum fill shadow_try_fill(struct shadows *, struct shadow *root, u64 va, const struct translation *, bool write);      /* dropping nothing */
pte_t leaf_for(const struct shadow *, pte_t guest, bool user, u64 hpa);        /* user: at all levels */
void shadow_drop_page(struct shadows *, u64 va);        /* INVLPG: of the current space; an address of the guest's */

/* rmap.c */
bool map_leaf(struct shadows *, pte_t *entry, pte_t now);
void unmap_leaf(struct shadows *, pte_t *entry);
void frame_protect(struct shadows *, struct frame *);
void frame_release(struct frame *);             /* give the rights back */
void shadow_unmap(struct shadows *, u64 hpa);   /* a page that is the guest's no more, and no current root */
bool shadow_is_root(const struct shadows *, u64 hpa);   /* the processor runs by the shadow of this table */

/* store.c: the guest has written `size` bytes at `hpa`, which may be a table. */
void shadow_stored(struct shadows *, u64 hpa, u64 size);
bool shadow_store(struct shadows *, struct trapframe *, u64 va, const struct translation *);     /* FILL_TABLE; false: it cannot be done */
void shadow_link_entry(struct shadows *, struct shadow *, u64 index, pte_t entry);

/* sync.c */
bool table_let_go(struct shadows *, struct frame *);    /* it may be written until shadows_sync(); false: it stays protected */
void shadows_sync(struct shadows *);

/* ahead.c */
void shadows_begin_ahead(struct shadows *);
void shadows_may_run_ahead(struct shadows *);           /* as far as it may at once */
void table_ahead(struct shadows *, struct shadow *);
void leaves_ahead(struct shadows *, struct shadow *, u64 from, u64 count);      /* of a leaf table */
void shadow_fill_around(struct shadows *, struct shadow *root, u64 va, u64 pages);      /* va has just been filled; pages: a power of 2 */
void shadows_bound(struct shadows *, const u64 *blocks, u64 count);     /* as in a request (pager/pager.h) */

/* In a shadow leaf, where the processor looks at nothing: */
#define SPTE_WRITABLE (1UL << 9)        /* the guest lets it be written, whether we do or not */
#define SPTE_USER (1UL << 10)           /* the guest's leaf has U */

/* fetch.c: what there is of the instruction at RIP */
u64 fetch(const struct trapframe *, u8 *code, u64 size);

/* ---- what a runtime brings: in its vcpu.h FIRST_KIND, LAST_KIND, HOST_SLOT, write_protects(), supervisor_may(); and ---- */

void host_half(pte_t *root);            /* the entries that a root has of the host's: from HOST_SLOT on */
bool kernel_sees(u64 gpa, u64 *va, struct translation *);      /* where the guest's kernel has all of its memory mapped; false: nowhere */
void *guest_bytes(u64 va, u64 size, u64 access);        /* within a page; PF_WRITE, PF_FETCH; NULL: not mapped so */

#endif
