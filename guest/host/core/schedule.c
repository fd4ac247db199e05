/* Which container runs.  One that does not waits on its own stack of the host's, wherever that was left.
 *
 *   QUEUED ──► RUNNING ──► WAITING (HC_WAIT) ──► RUNNING ──► ENDED
 *                  └─ its slice is over: another one's turn
 */
#include "host.h"
#include "machine.h"
#include "options.h"
#include "platform/console.h"
#include "platform/time.h"
#include "policy.h"
#include "task/fpu.h"
#include "x86.h"

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

/* While something is done for the others: whose turn it is, and whose stack this is. */
static struct container *runs;

static void each(void (*what)(void), const struct container *except) {
    struct container *before = runs = self;

    for (struct container *c = containers; c < containers + MAX_CONTAINERS; c++)
        if (c != except && (c->state == RUNNING || c->state == WAITING)) {
            self = c;
            what();
        }
    self = before;
    runs = NULL;
}

void each_container(void (*what)(void)) { each(what, NULL); }
void each_other_container(void (*what)(void)) { each(what, self); }

static u64 sooner(u64 a, u64 b) { return !a ? b : !b ? a : MIN(a, b); }

void timer_arm(void) {
    bool others = false;
    u64 when = policy_deadline();

    for (struct container *c = containers; c < containers + MAX_CONTAINERS; c++) {
        when = sooner(when, c->state == RUNNING || c->state == WAITING ? c->deadline : 0);
        others |= c != self && can_run(c);
    }
    if (others && !slice_end)
        slice_end = plat_cycles() + plat_cycles_per_second() / SLICES_PER_SECOND;
    plat_timer(others && !OFF(preempt) ? sooner(when, slice_end) : when);
}

static void timer_rings(void) {
    u64 now = plat_cycles();

    for (struct container *c = containers; c < containers + MAX_CONTAINERS; c++)
        if (c->deadline && now >= c->deadline) {
            c->deadline = 0;
            c->waiting |= 1;
        }
    policy_rings(now);
    timer_arm();
}

/* There is one console, and the first container has its input. */
void interrupt(u64 vector) {
    interrupt_done(vector);
    if (vector == VEC_IRQ0)
        timer_rings();
    else
        containers[0].waiting |= 1UL << (vector - VEC_IRQ0);
}

static void enter(struct container *next) {
    self = next;
    plat_set_kstack(next->stack + sizeof next->stack);
    vcpu_load(&next->vcpu);
    fpu_load(&next->fpu);
}

void schedule(void) {
    struct container *before = self, *next;

    while (!(next = next_to_run()))
        sleep_until_interrupt();
    slice_end = 0;
    next->state = RUNNING;
    if (next != before) {
        vcpu_put(&before->vcpu);
        fpu_save(&before->fpu);
        enter(next);
    }
    timer_arm();
    if (next != before)
        switch_context(&before->host_rsp, next->host_rsp);
}

void schedule_if_slice_over(void) {
    if (slice_end && plat_cycles() >= slice_end)
        schedule();
}

void wait_for_interrupt(void) {
    while (!self->waiting) {
        self->state = WAITING;
        schedule();
    }
}

u64 take_interrupt(void) {
    u64 irq = (u64)__builtin_ctzl(self->waiting);

    self->waiting &= self->waiting - 1;
    return VEC_IRQ0 + irq;
}

static void begin(void) { vcpu_run(&self->vcpu); }

/* Load one, so that its first instruction is what its stack returns to. */
static void prepare(struct container *c, int slot) {
    u64 *stack = (u64 *)(c->stack + sizeof c->stack) - 8;

    c->slot = slot;
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

/* Its memory goes back to the pool, its tables with it: the boot code's map the host alone. */
static void give_all_back(struct container *old) {
    write_cr3((u64)boot_pml4);
    flush_tlb();
    vcpu_destroy(&old->vcpu);
    bindings_end();
    account_close(&old->memory);
}

/* Option again=: so many that have ended come to the queue once more, as a load test wants it.  Who ends still stands on its
 * own stack, so another one must be in the queue before it. */
static void queue_again(struct container *old) {
    static u64 times;

    if (times < option("again", 0)) {
        times++;
        old->state = QUEUED;
    }
}

/* The machine ends with the last one, and says how the first one did. */
void container_ended(int status) {
    struct container *old = self, *next;

    if (runs)
        panic("container %d ends in the turn of container %d", self->number, runs->number);
    old->state = ENDED;         /* first: it may have failed while it was loaded, and be in the queue still */
    old->status = status;
    next = first_in(QUEUED);
    if (!next && !first_in(RUNNING) && !first_in(WAITING))
        plat_exit(containers[0].status);
    give_all_back(old);
    if (next) {
        prepare(next, old->slot);
        self = old;
        queue_again(old);
    }
    schedule();
    panic("container %d runs on behind its end", old->number);
}

void run_containers(int count) {
    u64 nowhere;

    for (int i = 0; i < count; i++) {
        containers[i].number = i;
        containers[i].state = QUEUED;
    }
    for (int i = 0; i < count && i < MAX_RUNNING; i++)
        prepare(&containers[i], i);
    enter(&containers[0]);
    timer_arm();
    switch_context(&nowhere, self->host_rsp);
    panic("nothing to run");
}
