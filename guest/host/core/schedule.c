/* Which container runs.  One that does not waits on its own stack of the host's, wherever that was left.
 *
 *   IN_LINE ──► RUNNING ──► WAITING (HC_WAIT) ──► RUNNING ──► ENDED
 *                  └─ its slice is over: another one's turn
 */
#include "host.h"
#include "task/fpu.h"

#define SLICES_PER_SECOND 1000

void switch_context(u64 *save, u64 load);       /* switch.S */
extern u64 boot_pml4[];                         /* physical: the host's half, and no container's */

static struct container containers[MAX_CONTAINERS];
struct container *self = containers;

static u64 slice_end;

static bool can_run(const struct container *c) { return c->state == RUNNING || (c->state == WAITING && c->waiting); }

static struct container *next_to_run(void) {
    for (int i = 1; i <= MAX_CONTAINERS; i++) {
        struct container *c = &containers[(self->number + i) % MAX_CONTAINERS];
        if (can_run(c))
            return c;
    }
    return NULL;
}

static u64 sooner(u64 a, u64 b) { return !a ? b : !b ? a : MIN(a, b); }

void timer_arm(void) {
    bool others = false;
    u64 when = 0;

    for (struct container *c = containers; c < containers + MAX_CONTAINERS; c++) {
        when = sooner(when, c->state == RUNNING || c->state == WAITING ? c->deadline : 0);
        others |= c != self && can_run(c);
    }
    if (others && !slice_end)
        slice_end = plat_cycles() + plat_cycles_per_second() / SLICES_PER_SECOND;
    plat_timer(others && !OFF(preempt) ? sooner(when, slice_end) : when);
}

void timer_rings(void) {
    u64 now = plat_cycles();

    for (struct container *c = containers; c < containers + MAX_CONTAINERS; c++)
        if (c->deadline && now >= c->deadline) {
            c->deadline = 0;
            c->waiting |= 1;
        }
    timer_arm();
}

/* There is one console, and the first container has its input. */
void interrupt_for_console(u64 irq) { containers[0].waiting |= 1UL << irq; }

static void leave(struct container *c) {
    c->fs = read_fs_base();
    c->gs = read_gs_base();
    c->pkru = rdpkru();
    fpu_save(&c->fpu);
}

static void enter(struct container *next) {
    self = next;
    plat_set_kstack(next->stack + sizeof next->stack);
    write_cr3(host_physical(next->current ? next->space[next->current - 1] : next->template));
    flush_tlb();                                /* the container kernel's pages are global */
    write_fs_base(next->fs);
    write_gs_base(next->gs);
    wrpkru((u32)next->pkru);
    fpu_load(&next->fpu);
}

void schedule(void) {
    struct container *before = self, *next;

    while (!(next = next_to_run()))
        sleep_until_interrupt();
    slice_end = 0;
    next->state = RUNNING;
    if (next != before) {
        leave(before);
        enter(next);
    }
    timer_arm();
    if (next != before)
        switch_context(&before->host_rsp, next->host_rsp);
}

void slice_over(void) {
    if (slice_end && plat_cycles() >= slice_end)
        schedule();
}

void wait_for_interrupt(void) {
    while (!self->waiting) {
        self->state = WAITING;
        schedule();
    }
}

static void begin(void) { plat_enter_user(&self->start); }

/* Load one, so that its first instruction is what its stack returns to. */
static void prepare(struct container *c, int part) {
    u64 *stack = (u64 *)(c->stack + sizeof c->stack) - 8;

    c->part = part;
    c->pool = pool_of(part);
    self = c;
    container_load(c->number);
    fpu_save(&c->fpu);
    stack[6] = (u64)begin;
    c->host_rsp = (u64)stack;
    c->state = RUNNING;
}

static struct container *first_in(enum state state) {
    for (struct container *c = containers; c < containers + MAX_CONTAINERS; c++)
        if (c->state == state)
            return c;
    return NULL;
}

/* The machine ends with the last one, and says how the first one did. */
void container_ended(int status) {
    struct container *old = self, *next = first_in(IN_LINE);

    old->state = ENDED;
    old->status = status;
    if (next) {
        write_cr3((u64)boot_pml4);      /* the old tables are in the memory that the next one gets */
        flush_tlb();
        prepare(next, old->part);
        self = old;
    }
    if (!first_in(RUNNING) && !first_in(WAITING))
        plat_exit(containers[0].status);
    schedule();
    panic("container %d runs on behind its end", old->number);
}

void run_containers(int count) {
    u64 nowhere;

    for (int i = 0; i < count; i++) {
        containers[i].number = i;
        containers[i].state = IN_LINE;
    }
    for (int i = 0; i < count && i < MAX_RUNNING; i++)
        prepare(&containers[i], i);
    enter(&containers[0]);
    timer_arm();
    switch_context(&nowhere, self->host_rsp);
    panic("nothing to run");
}
