/* What our hosts share: memory, containers, who runs.  A runtime brings vcpu.h, and the functions named at the end. */
#ifndef HOST_H
#define HOST_H

#include "abi.h"
#include "defence.h"
#include "errno.h"
#include "kernel.h"
#include "lib/elf.h"
#include "multiboot.h"
#include "platform/entry.h"
#include "pte.h"
#include "vcpu.h"

#define MAX_CONTAINERS 4
#define LARGE_ORDER 9
#define LARGE_PAGES (1UL << LARGE_ORDER)        /* 2 MiB */
#define MAX_RUNNING 2           /* at once; the next in the queue starts when one has ended */

/* How many pages of host memory a container holds and may hold. */
struct account { u64 held, reserve, limit; };   /* reserve: as many can always be had */

enum state { ABSENT, QUEUED, RUNNING, WAITING, ENDED };

/* One container.  While another one runs, its registers are on its stack and here. */
struct container {
    int number, slot;           /* slot: of the MAX_RUNNING (binding.c) */
    enum state state;
    int status;                 /* once it has ended */
    struct account memory;
    u64 pages;                  /* guest-physical pages it may use */
    u64 *bound;                 /* host-physical address of each, and flags; 0 = not bound (binding.c) */
    u64 bound_end;              /* no page is bound from here on */
    bool ahead;                 /* pages are bound when its kernel asks for it, no more when they are touched */
    u64 waiting;                /* interrupts held back: bit n is VEC_IRQ0 + n */
    u64 deadline;               /* cycles, 0 = none */
    u64 host_rsp;
    struct fpu fpu;
    struct vcpu vcpu;
    u8 stack[16384] __attribute__((aligned(16)));
};

extern struct container *self;          /* the one that runs, or is being loaded */

static inline void *host(u64 hpa) { return direct(hpa); }
static inline u64 host_physical(const void *p) { return physical(p); }

/* pages.c: pages of host memory, one pool for all, charged to `self`. */
void pages_init(u64 from, u64 to);
void *page_alloc(void);                         /* cleared; NULL: its limit is reached, or others' reserves are all that is left */
void *page_alloc_uncleared(void);               /* with what the one before left in it */
void *page_alloc_large(void);                   /* LARGE_PAGES in a row, aligned and cleared */
void page_free(void *);                         /* one, of a large one, too */
void page_free_large(void *);
u64 pages_unpromised(void);                     /* free, and in nobody's reserve */
bool pages_are_short(void);                     /* `self` may hold more, and there is none */
void account_open(struct account *, u64 reserve, u64 limit);
void account_close(struct account *);           /* everything must have been given back */
u32 *page_uses(u64 hpa);                        /* how often a page is mapped; of a leaf table, its entries in use */

/* binding.c: guest-physical to host-physical. */
void bindings_init(u64 *from, u64 pages);       /* room for so many pages in each slot; moves *from behind it */
void bindings_begin(u64 pages);                 /* of `self`: nothing is bound */
void bindings_end(void);                        /* give all back */
u64 binding_make(u64 gpa);                      /* of a page that is touched: bind it, unless that is done ahead */
u64 binding_add(u64 gpa);                       /* bind a page of the container's that is not bound; 0: out of memory */
static inline u64 binding_get(u64 gpa) {        /* the page's host address, bound now if need be; 0: out of range or memory */
    u64 page = gpa >> PAGE_SHIFT, bound = page < self->pages ? self->bound[page] : 0;
    return bound ? bound & ~PAGE_MASK : binding_make(gpa);
}
void binding_missing(u64 gpa);                  /* the container needs a page that binding_get() has not: its end, or it is to try again */
bool binding_lend(u64 gpa, u64 hpa);            /* a page that is not the pool's */
int binding_put(u64 gpa);                       /* give one back: 0, -EINVAL if not bound, -EBUSY if mapped, lent, pinned or needed */
bool binding_pin(u64 gpa);                      /* bind a page that the host itself uses: it cannot be given back.  False: no memory */
/* For memory policies (pager/host/): a block of order 0 or LARGE_ORDER, aligned, in one mapping where that can be. */
bool memory_back_large(u64 gpa);                 /* in one mapping, or not at all */
bool memory_back(u64 gpa, u32 order);           /* bind what is not bound of it within the container's memory; all or nothing */
int memory_unback(u64 gpa, u32 order);          /* give back what is bound of it, or -EBUSY and nothing; vcpu_flush() is the caller's */

/* schedule.c: who runs. */
void schedule(void);                            /* another one, if one can; comes back when it is our turn */
void schedule_if_slice_over(void);
void timer_arm(void);
void wait_for_interrupt(void);
u64 take_interrupt(void);                       /* the vector of one that was held back */
void interrupt(u64 vector);                     /* from a device */
void container_ended(int status) __attribute__((noreturn));
void run_containers(int count) __attribute__((noreturn));
void each_container(void (*what)(void));        /* that is loaded and not over, as `self`, whose registers stay where they are */
void each_other_container(void (*what)(void));  /* than `self` */

/* load.c */
int containers_count(const struct multiboot *);
void containers_share(void);                    /* the memory that pages_init() found */
void container_load(int number);                /* into `self` */

/* main.c */
void kill_container(const char *why, u64 detail) __attribute__((noreturn));

/* paravirtual.c: the hypercalls of every runtime. */
i64 pv_timer(u64 deadline), pv_wait(void), pv_cycles_per_second(void), pv_unbind(u64 gpa);
i64 pv_console_write(u64 stream, u64 from, u64 count), pv_console_read(u64 stream, u64 to, u64 count), pv_exit(u64 status);
bool copy_from_guest(void *to, u64 address, u64 size);

/* ---- what a runtime brings; in its vcpu.h, for bind.c, vcpu_ahead(), before the first request for pages ahead of their use,
 * and vcpu_bound(blocks, count), behind each one: what beside vcpu_map() lets the container kernel reach them ---- */

void runtime_reserve(u64 *from, u64 pages);     /* memory for what it keeps of each page of all that there is: moves *from behind it */
void runtime_init(void);                        /* the processor's features, and its own entries */
bool vcpu_create(struct vcpu *);                /* before anything is bound; false without memory */
void vcpu_start(struct vcpu *, const struct elf_header *kernel, u64 boot_page);        /* its first instruction; gpa of struct gk_boot */
void vcpu_destroy(struct vcpu *);               /* its tables; nothing is mapped any more */
void vcpu_load(struct vcpu *), vcpu_put(struct vcpu *);         /* into the processor and out of it */
void vcpu_run(struct vcpu *) __attribute__((noreturn));         /* for the first time */
bool vcpu_map(u64 gpa, u64 hpa);                /* let the container kernel reach a page; false without memory for a table */
bool vcpu_maps_large(void);                     /* LARGE_PAGES by one entry */
bool vcpu_map_large(u64 gpa, u64 hpa);
void vcpu_unmap_large(u64 gpa);                 /* what that mapped */
bool vcpu_needs(u64 gpa);                       /* the host itself goes by what is in this page that is bound */
void vcpu_unmap(u64 gpa);                       /* what the TLB knows of it goes with vcpu_flush() */
void vcpu_flush(const u64 *blocks, u64 count);  /* as in a request (pager/pager.h): nobody has them mapped any more */
bool vcpu_reclaim(void);                        /* give back what can be spared; false: nothing */
void *guest_memory(u64 address, u64 size);      /* the container kernel's, within one page; NULL = not its own */

#endif
