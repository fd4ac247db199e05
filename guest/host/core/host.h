/* The ParaCell host: what its files share. */
#ifndef HOST_H
#define HOST_H

#include "abi.h"
#include "defence.h"
#include "kernel.h"
#include "machine.h"
#include "multiboot.h"
#include "platform/console.h"
#include "platform/time.h"
#include "pte.h"
#include "selectors.h"
#include "x86.h"

#define USER_END 0x00007ffffffff000UL
#define MAX_SPACES 512
#define MAX_CONTAINERS 4
#define MAX_RUNNING 2           /* at once; the next in line gets the memory of one that has ended */

/* The host memory that a container may use, and nobody else. */
struct pool {
    u64 next, end;              /* physical: not used yet */
    u64 *given;                 /* pages that came back, each with the address of the next */
    u64 given_count;
};

enum state { ABSENT, IN_LINE, RUNNING, WAITING, ENDED };

/* One container.  While another one runs, its registers wait on its stack and here. */
struct container {
    int number, part;           /* part: which pool of the host's memory it has */
    enum state state;
    int status;                 /* once it has ended */
    struct pool pool;
    u64 pages;                  /* guest-physical pages it may use */
    u64 *bound;                 /* host-physical address of each, 0 = not bound yet (bind.c) */
    u64 *template;              /* its top-level table without container user */
    u64 *space[MAX_SPACES];     /* top-level tables, by handle - 1; NULL = free */
    u64 current;                /* the handle in CR3 */
    u64 waiting;                /* interrupts held back: bit n is VEC_IRQ0 + n */
    u64 deadline;               /* cycles, 0 = none */
    int key;                    /* of the container kernel's memory; 0 only if option off=keys */
    struct gk_header header;
    u64 host_rsp, fs, gs, pkru;
    struct fpu fpu;
    struct trapframe start;
    u8 stack[16384] __attribute__((aligned(16)));
};

extern struct container *self;          /* the one that runs, or is being loaded */

static inline void *host(u64 hpa) { return direct(hpa); }
static inline u64 host_physical(const void *p) { return physical(p); }
/* pages.c: whole pages of host memory, zeroed. */
void pages_init(u64 from, u64 to, int parts);   /* … in so many equal pools */
struct pool pool_of(int part);
void *page_take(void);
void *page_take_as_it_is(void);                 /* with what the one before left in it */
void page_give(void *);
u64 pages_left(void);                           /* in the pool of `self` */

/* tables.c: page tables.  All of a container's spaces share the upper half. */
void tables_init(void);                         /* of `self` */
u64 *space_create(void);
void space_destroy(u64 *top);                   /* its tables; the pages are the container's */
void leave_space(void);                         /* into tables that map no container user */
u64 *entry_of(u64 *top, u64 va);                /* the leaf entry, its tables made if missing */
void map_kernel_page(u64 va, u64 hpa, u64 rights);

/* bind.c: guest-physical to host-physical. */
u64 bind(u64 gpa);                              /* the page's host address, bound now if need be; 0 = out of range */
void bind_to(u64 gpa, u64 hpa);
bool bind_on_touch(u64 va);                     /* a fault in the container kernel's direct map */
void *kernel_memory(u64 va, u64 size);          /* container-kernel memory within one page, for the host; NULL = not its own */
bool copy_from_kernel(void *to, u64 va, u64 size);

/* schedule.c: who runs. */
void schedule(void);                            /* another one, if one can; comes back when it is our turn */
void slice_over(void);                          /* … if ours is */
void timer_rings(void);                         /* for whoever asked for it */
void timer_arm(void);
void wait_for_interrupt(void);
void interrupt_for_console(u64 irq);
void container_ended(int status) __attribute__((noreturn));
void run_containers(int count) __attribute__((noreturn));

/* load.c, trap.c, hypercall.c */
int containers_count(const struct multiboot *);
void container_load(int number);                /* into `self` */
u64 take_waiting(void);                         /* the vector of an interrupt that was held back */
void inject(struct trapframe *, u64 vector, u64 error, u64 address);
void back_to_user(struct trapframe *, u64 at);  /* … as the container kernel's frame at `at` says */
void hypercall(struct trapframe *);
void kill_container(const char *why, u64 detail) __attribute__((noreturn));
bool in_container_kernel(const struct trapframe *, u32 pkru);

#endif
