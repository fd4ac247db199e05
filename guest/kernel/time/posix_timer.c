/* timer_create and its kin: timers of a process, each with a signal of its own.  While that waits to be delivered, a timer
 * that rings again only counts: its overrun. */
#include "posix_timer.h"

#include "kernel.h"
#include "mm/slab.h"
#include "mm/vm.h"
#include "syscall/syscalls.h"
#include "task/process.h"
#include "time.h"

#define SIGEV_SIGNAL 0
#define SIGEV_NONE 1
#define SIGEV_THREAD 2          /* a signal, too: the rest is the library's */
#define SIGEV_THREAD_ID 4
#define TIMERS_MAX 256          /* of a process */
#define PAUSE_LEAST 1000000UL   /* ns from one ring to the next: what a shorter interval would ring between is counted */
#define OVERRUN_MAX 0x7fffffffUL

struct sigevent { u64 value; i32 signal, notify, tid; i32 rest[11]; };
struct itimerspec { struct timespec interval, value; };

struct posix_timer {
    struct posix_timer *next;
    struct process *process;
    i32 id;
    u32 clock;
    struct sigevent event;
    struct timer timer;
    u64 due, interval;          /* ns since boot, 0 = not set; ns */
    u64 missed, overrun;        /* since the last signal was sent; what the last one delivered said */
};

static struct posix_timer *timer_at(const struct process *p, i32 id) {
    struct posix_timer *t = p->timers;

    while (t && t->id != id)
        t = t->next;
    return t;
}

static bool is_of(const struct siginfo *info, const struct posix_timer *t) { return info->code == SI_TIMER && info->pid == t->id; }

static bool is_queued(const struct signals *s, const struct posix_timer *t) {
    for (const struct sent *sent = s->first; sent; sent = sent->next)
        if (is_of(&sent->info, t))
            return true;
    return false;
}

/* Let it be after all times at which it was due; how many there were. */
static u64 pass(struct posix_timer *t) {
    u64 now = now_ns(), times;

    if (!t->due || now < t->due)
        return 0;
    times = t->interval ? 1 + (now - t->due) / t->interval : 1;
    t->due = t->interval ? t->due + times * t->interval : 0;
    return times;
}

static void tell(struct posix_timer *t, u64 times) {
    struct siginfo info = {.signal = t->event.signal, .code = SI_TIMER, .pid = t->id, .value = t->event.value};
    struct task *thread = t->event.notify & SIGEV_THREAD_ID ? task_of(t->event.tid) : NULL;

    if (t->event.notify & SIGEV_THREAD_ID && (!thread || thread->process != t->process))
        return;                         /* the thread has ended */
    if (is_queued(thread ? &thread->signals : &t->process->signals, t)) {
        t->missed += times;
        return;
    }
    t->missed = times - 1;
    if (thread)
        signal_task(thread, &info);
    else
        signal_process(t->process, &info);
}

static void ring(struct timer *timer) {
    struct posix_timer *t = (struct posix_timer *)((u8 *)timer - offsetof(struct posix_timer, timer));
    u64 times = pass(t);

    if (t->due)
        timer_set(timer, MAX(t->due, now_ns() + PAUSE_LEAST), ring);
    if (times)
        tell(t, times);
}

void posix_timer_delivers(struct siginfo *info) {
    struct posix_timer *t = timer_at(current->process, info->pid);

    if (!t || !is_of(info, t))
        return;
    if (t->interval)
        t->missed += pass(t);
    t->overrun = MIN(t->missed, OVERRUN_MAX);
    t->missed = 0;
    info->uid = (u32)t->overrun;        /* si_overrun */
}

static void forget(struct posix_timer **at) {
    struct posix_timer *t = *at;

    timer_cancel(&t->timer);
    *at = t->next;
    kfree(t);
}

void posix_timers_end(struct process *p) {
    while (p->timers)
        forget(&p->timers);
}

static i64 read_event(u64 from, struct sigevent *e, i32 id) {
    *e = (struct sigevent){.signal = SIGALRM, .value = (u64)id};
    if (!from)
        return 0;
    if (copy_in(e, from, sizeof *e))
        return -EFAULT;
    if (e->notify == SIGEV_NONE)
        return 0;
    const struct task *thread = e->notify & SIGEV_THREAD_ID ? task_of(e->tid) : current;
    if (e->notify & ~(SIGEV_THREAD | SIGEV_THREAD_ID) || !thread || thread->process != current->process)
        return -EINVAL;
    return e->signal < 1 || e->signal > SIGNALS ? -EINVAL : 0;
}

i64 sys_timer_create(u32 clock, u64 event, u64 to) {
    static const u32 clocks = 1u << CLOCK_REALTIME | 1u << CLOCK_MONOTONIC | 1u << CLOCK_BOOTTIME | 1u << CLOCK_REALTIME_ALARM |
                              1u << CLOCK_BOOTTIME_ALARM | 1u << CLOCK_TAI;
    struct process *p = current->process;
    struct sigevent e;
    i32 id = 0, count = 0;

    if (clock >= CLOCKS || !(clocks >> clock & 1))
        return -EINVAL;
    for (const struct posix_timer *t = p->timers; t; t = t->next)
        count++;
    if (count == TIMERS_MAX)
        return -EAGAIN;
    while (timer_at(p, id))
        id++;
    i64 error = read_event(event, &e, id);
    if (error)
        return error;
    struct posix_timer *t = kmalloc(sizeof *t);
    if (!t)
        return -EAGAIN;
    *t = (struct posix_timer){.next = p->timers, .process = p, .id = id, .clock = clock, .event = e};
    if (copy_out(to, &id, sizeof id)) {
        kfree(t);
        return -EFAULT;
    }
    p->timers = t;
    return 0;
}

i64 sys_timer_gettime(i32 id, u64 to) {
    struct posix_timer *t = timer_at(current->process, id);

    if (!t)
        return -EINVAL;
    u64 now = now_ns(), due = t->due;
    if (due && due <= now && t->interval)
        due += (1 + (now - due) / t->interval) * t->interval;
    u64 left = !due ? 0 : due > now ? due - now : t->event.notify == SIGEV_NONE ? 0 : 1;
    struct itimerspec s = {timespec_of(t->interval), timespec_of(left)};
    return copy_out(to, &s, sizeof s);
}

static bool valid(struct timespec t) { return t.sec >= 0 && (u64)t.nsec < NS_PER_S; }

i64 sys_timer_settime(i32 id, u32 flags, u64 new, u64 old) {
    struct posix_timer *t = timer_at(current->process, id);
    struct itimerspec s;

    if (!new)
        return -EINVAL;
    if (copy_in(&s, new, sizeof s))
        return -EFAULT;
    if (!valid(s.interval) || !valid(s.value) || !t)
        return -EINVAL;
    i64 error = old ? sys_timer_gettime(id, old) : 0;
    if (error)
        return error;
    timer_cancel(&t->timer);
    t->missed = t->overrun = 0;
    t->interval = t->due = 0;
    if (!s.value.sec && !s.value.nsec)
        return 0;
    t->interval = ns_of_timespec(s.interval);
    t->due = MAX(flags & TIMER_ABSTIME ? since_boot(t->clock, s.value) : now_ns() + ns_of_timespec(s.value), 1);
    if (t->event.notify != SIGEV_NONE)
        timer_set(&t->timer, t->due, ring);
    return 0;
}

i64 sys_timer_getoverrun(i32 id) {
    const struct posix_timer *t = timer_at(current->process, id);

    return t ? (i64)t->overrun : -EINVAL;
}

i64 sys_timer_delete(i32 id) {
    struct posix_timer **at = &current->process->timers;

    while (*at && (*at)->id != id)
        at = &(*at)->next;
    if (!*at)
        return -EINVAL;
    forget(at);
    return 0;
}
