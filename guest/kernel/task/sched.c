/* The scheduler: one queue of tasks that can run, each for its slice in turn, and the sleepers by what they wait for.
 *
 *   ┌──── wakeup(), timeout, signal ────┐
 *   │                                   ▼
 * SLEEPING ◄── sleep_on() ── running ── RUNNABLE queue
 */
#include "fpu.h"
#include "kernel.h"
#include "mm/page.h"
#include "mm/vm.h"
#include "platform/entry.h"
#include "platform/space.h"
#include "platform/time.h"
#include "process.h"
#include "supply.h"
#include "time/itimer.h"
#include "time/time.h"

#define SLICE (10 * 1000 * 1000UL)      /* ns */
#define CALLS 48                        /* that a thread makes before another one has its turn, or up to 15 more: */
#define MORE 16                         /* the same number each time might always end behind the same call of a loop */
#define CHANNELS 64

void switch_context(u64 *save, u64 load);       /* switch.S */

struct queue run_queue;
static struct queue sleepers[CHANNELS];
static struct task *left;               /* the task that ran before, if it has ended: its stack can be freed now */
static u64 slice_end;
static u32 calls, turns;                /* in this slice, while others wait; slices that ended for them */

static void enqueue(struct queue *q, struct task *t) {
    t->next = NULL;
    t->previous = q->last;
    *(q->last ? &q->last->next : &q->first) = t;
    q->last = t;
}

static void dequeue(struct queue *q, struct task *t) {
    *(t->previous ? &t->previous->next : &q->first) = t->next;
    *(t->next ? &t->next->previous : &q->last) = t->previous;
}

static struct queue *queue_of(const void *channel) { return &sleepers[((u64)channel >> 4 ^ (u64)channel >> 12) % CHANNELS]; }

void sched_add(struct task *t) {
    t->state = RUNNABLE;
    enqueue(&run_queue, t);
}

/* On the way to user mode: arm the timer only if another task can run, since arming it costs a trap.
 * Who calls again and again may hold a lock wherever the timer finds it, as CPython does, but not right behind a call:
 * a slice that ends there lets those go on who wait for the lock. */
void measure_slice(void) {
    if (!run_queue.first) {
        slice_end = 0;
    } else if (!slice_end) {
        slice_end = now_ns() + SLICE;
    } else if (++calls == CALLS + turns % MORE) {
        slice_end = now_ns();
        turns++;
    }
    u64 soonest = slice_end, cpu = cpu_timers_next(current->process);
    timers_arm(!soonest ? cpu : !cpu ? soonest : MIN(soonest, cpu));
}

u64 cpu_time(const struct process *p) {
    u64 now = now_ns();

    return p->cpu_ns + (p == current->process && current->since < now ? now - current->since : 0);
}

u64 most_pages(const struct process *p) {
    u64 now = p->mm ? MAX(p->mm->most, p->mm->pages) : 0;

    return MAX(p->most_pages, now);
}

u64 own_cpu_time(void) { return current->cpu_ns + now_ns() - current->since; }

static void leave(struct task *t) {
    if (t->state == DEAD)
        return;
    plat_save(&t->context);
    fpu_save(&t->fpu);
}

static void enter(struct task *t, const struct task *before) {
    u64 as = t->process->mm ? t->process->mm->as : 0;

    this_cpu()->task = t;
    plat_set_kstack(frame_of(t) + 1);
    if (as && (!before->process->mm || before->process->mm->as != as))
        plat_as_switch(as);
    plat_load(&t->context);
    fpu_load(&t->fpu);
}

/* The first thing on the new stack: a thread that ended has no more use for its own. */
void sched_arrive(void) {
    struct task *t = left;

    left = NULL;
    if (t && t->state == DEAD)
        reap(t);
}

static u64 charge(struct task *t) {
    u64 now = now_ns();

    t->cpu_ns += now - t->since;
    t->process->cpu_ns += now - t->since;
    return now;
}

void schedule(void) {
    struct task *before = current, *next;
    u64 now = charge(before);

    while (!(next = run_queue.first)) {
        before->since = FOREVER;        /* the time until then is charged to no task */
        if (supply_on)
            supply_idle();
        plat_wait();                    /* on this stack, until an interrupt wakes a task */
        now = now_ns();
    }
    dequeue(&run_queue, next);
    slice_end = 0;
    calls = 0;
    next->since = now;
    if (next == before)
        return;
    leave(before);
    left = before;
    enter(next, before);
    switch_context(&before->kernel_rsp, next->kernel_rsp);
    sched_arrive();
}

void yield(void) {
    if (!run_queue.first)
        return;
    sched_add(current);
    schedule();
}

void sched_interrupt(void) {
    if (run_queue.first && (!slice_end || now_ns() >= slice_end))
        yield();
}

static void ring_for_sleeper(struct timer *timer) {
    struct task *t = (struct task *)((u8 *)timer - offsetof(struct task, timeout));

    t->timed_out = true;
    wake_task(t);
}

void sleep_uninterruptible(const void *channel) {
    current->state = SLEEPING;
    current->channel = channel;
    enqueue(queue_of(channel), current);
    schedule();
}

/* Woken by a signal, the caller looks first whether what it waits for has come: the next sleep says -EINTR. */
int sleep_on(const void *channel, u64 until) {
    struct task *t = current;

    if (signal_waiting())
        return -EINTR;
    if (until != FOREVER && now_ns() >= until)
        return -ETIMEDOUT;
    t->timed_out = false;
    if (until != FOREVER)
        timer_set(&t->timeout, until, ring_for_sleeper);
    sleep_uninterruptible(channel);
    timer_cancel(&t->timeout);
    return t->timed_out ? -ETIMEDOUT : 0;
}

i64 sleep_then_retry(const void *channel) { return sleep_on(channel, FOREVER) ? -ERESTART : -ERETRY; }

void wake_task(struct task *t) {
    if (t->state != SLEEPING)
        return;
    dequeue(queue_of(t->channel), t);
    sched_add(t);
}

void wakeup(const void *channel) {
    struct task *next;

    for (struct task *t = queue_of(channel)->first; t; t = next) {
        next = t->next;
        if (t->channel == channel)
            wake_task(t);
    }
}
