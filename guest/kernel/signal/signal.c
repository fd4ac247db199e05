/* Signals: sending them, and what happens by default. */
#include "signal.h"

#include "fs/file.h"
#include "kernel.h"
#include "mm/slab.h"
#include "mm/vm.h"
#include "platform/entry.h"
#include "task/job.h"
#include "task/process.h"
#include "time/posix_timer.h"

#define BIT SIGNAL_BIT
#define IGNORED_BY_DEFAULT (BIT(SIGCHLD) | BIT(SIGCONT) | BIT(SIGURG) | BIT(SIGWINCH))
#define STOPS (BIT(SIGSTOP) | BIT(SIGTSTP) | BIT(SIGTTIN) | BIT(SIGTTOU))
#define DUMPS (BIT(SIGQUIT) | BIT(SIGILL) | BIT(SIGTRAP) | BIT(SIGABRT) | BIT(SIGBUS) | BIT(SIGFPE) | BIT(SIGSEGV) | \
               BIT(SIGXCPU) | BIT(SIGXFSZ) | BIT(SIGSYS))
#define QUEUED_FROM 32          /* real-time signals are delivered as often as they were sent */

static const char *const names[] = {
    "0", "SIGHUP", "SIGINT", "SIGQUIT", "SIGILL", "SIGTRAP", "SIGABRT", "SIGBUS", "SIGFPE", "SIGKILL", "SIGUSR1",
    "SIGSEGV", "SIGUSR2", "SIGPIPE", "SIGALRM", "SIGTERM",
};

const char *signal_name(int signal) { return (u64)signal < COUNT(names) ? names[signal] : "signal"; }

/* ---- sending ---- */

static void post(struct signals *s, const struct siginfo *info) {
    struct sent *sent;

    s->inside &= ~BIT(info->signal);    /* signal_by_process() says so again */
    if (s->set & BIT(info->signal) && info->signal < QUEUED_FROM)
        return;
    s->set |= BIT(info->signal);
    s->arrived++;
    wakeup(&pollers);                   /* a signalfd is ready */
    if (!(sent = kmalloc(sizeof *sent)))
        return;                         /* it arrives all the same, but cannot say from whom */
    sent->info = *info;
    *(s->last ? &s->last->next : &s->first) = sent;
    s->last = sent;
}

void signals_drop(struct signals *s, u64 set) {
    struct sent **at = &s->first;

    s->set &= ~set;
    s->inside &= ~set;
    s->last = NULL;
    while (*at) {
        struct sent *sent = *at;
        if (set & BIT(sent->info.signal)) {
            *at = sent->next;
            kfree(sent);
        } else {
            s->last = sent;
            at = &sent->next;
        }
    }
}

void signals_forget(struct process *p, u64 set) {
    signals_drop(&p->signals, set);
    for (struct task *t = p->threads; t; t = t->next_thread)
        signals_drop(&t->signals, set);
}

/* Stop and go undo each other, whatever is done with the signal itself. */
static void prepare(struct process *p, int signal) {
    if (BIT(signal) & STOPS)
        signals_forget(p, BIT(SIGCONT));
    if (signal == SIGCONT)
        signals_forget(p, STOPS);
    if (signal == SIGCONT || signal == SIGKILL)
        process_continue(p, signal == SIGCONT);
}

bool signal_ignored(const struct process *p, int signal) {
    u64 handler = p->actions[signal].handler;

    if (p->unkillable && handler == SIG_DFL)
        return true;
    return !(BIT(signal) & UNSTOPPABLE) && (handler == SIG_IGN || (handler == SIG_DFL && BIT(signal) & IGNORED_BY_DEFAULT));
}

void signal_handlers_drop(struct process *p) {
    for (int i = 1; i <= SIGNALS; i++)
        p->actions[i] = (struct sigaction){.handler = p->actions[i].handler == SIG_IGN ? SIG_IGN : SIG_DFL};
}

static bool blocks(const struct task *t, int signal) {
    return (t->blocked | (t->restore_blocked ? t->saved_blocked : 0)) & BIT(signal) & ~UNSTOPPABLE;
}

void signal_task(struct task *t, const struct siginfo *info) {
    prepare(t->process, info->signal);
    if (signal_ignored(t->process, info->signal) && !blocks(t, info->signal))
        return;
    post(&t->signals, info);
    if (t->blocked & BIT(info->signal) & ~UNSTOPPABLE)
        wakeup(&t->signals);            /* sigtimedwait may want it nevertheless */
    else
        wake_task(t);
}

/* Whichever thread does not block it is woken; the running one needs no waking. */
void signal_process(struct process *p, const struct siginfo *info) {
    struct task *t = p->threads;

    if (p->zombie || !t)
        return;
    prepare(p, info->signal);
    if (signal_ignored(p, info->signal) && !blocks(t, info->signal))
        return;
    post(&p->signals, info);
    for (; t; t = t->next_thread)
        if (t->blocked & BIT(info->signal) & ~UNSTOPPABLE)
            wakeup(&t->signals);
        else if (t->state == SLEEPING)
            break;
    if (t)
        wake_task(t);
}

/* kill() and its kin, for a thread or, with NULL, for any of the process's.  What the first process has no handler for, others
 * cannot do to it (pid_namespaces(7)): it is dropped here, or, where it is blocked, once it no longer is. */
void signal_by_process(struct process *p, struct task *t, const struct siginfo *info) {
    struct signals *s = t ? &t->signals : &p->signals;
    bool shielded = p == init_process && p != current->process;
    u64 bit = BIT(info->signal), before = s->set & ~s->inside & bit;

    if (shielded && p->actions[info->signal].handler == SIG_DFL && !blocks(t ? t : p->threads, info->signal)) {
        if (info->signal != SIGKILL)
            prepare(p, info->signal);
        return;
    }
    if (t)
        signal_task(t, info);
    else
        signal_process(p, info);
    if (shielded && !before)
        s->inside |= s->set & bit;
}

i64 signal_group(i32 group, const struct siginfo *info) {
    i64 result = -ESRCH;

    for (struct process *p = processes; p; p = p->next)
        if (p->group == group) {
            result = 0;
            if (info->signal)
                signal_process(p, info);
        }
    return result;
}

void signal_kernel(struct process *p, int signal) {
    struct siginfo info = {.signal = signal, .code = SI_KERNEL};

    signal_process(p, &info);
}

/* ---- receiving ---- */

static bool take_from(struct signals *s, u64 set, struct siginfo *info) {
    bool found = false;

    set &= s->set;
    if (!set)
        return false;
    int signal = __builtin_ctzl(set) + 1;
    *info = (struct siginfo){.signal = signal, .code = SI_KERNEL};
    s->set &= ~BIT(signal);
    for (struct sent **at = &s->first, *before = NULL, *sent; (sent = *at);) {
        if (sent->info.signal == signal && found) {
            s->set |= BIT(signal);      /* one more of them */
            break;
        }
        if (sent->info.signal == signal) {
            *info = sent->info;
            *at = sent->next;
            if (s->last == sent)
                s->last = before;
            kfree(sent);
            found = true;
        } else {
            before = sent;
            at = &sent->next;
        }
    }
    return true;
}

bool signal_take(u64 set, struct siginfo *info) {
    if (!take_from(&current->signals, set, info) && !take_from(&current->process->signals, set, info))
        return false;
    if (info->code == SI_TIMER)
        posix_timer_delivers(info);
    return true;
}

static void drop_from_inside(struct signals *s) {
    for (u64 left = s->set & s->inside & (~current->blocked | UNSTOPPABLE); left; left &= left - 1) {
        int signal = __builtin_ctzl(left) + 1;
        if (current->process->actions[signal].handler == SIG_DFL)
            signals_drop(s, BIT(signal));
    }
}

static u64 deliverable(void) {
    drop_from_inside(&current->signals);
    drop_from_inside(&current->process->signals);
    return (current->signals.set | current->process->signals.set) & (~current->blocked | UNSTOPPABLE);
}

/* Forget what is ignored; is anything left that must be acted on? */
bool signal_waiting(void) {
    struct process *p = current->process;
    u64 set = deliverable();

    for (u64 left = set; left; left &= left - 1) {
        int signal = __builtin_ctzl(left) + 1;
        if (signal_ignored(p, signal)) {
            signals_drop(&current->signals, BIT(signal));
            signals_drop(&p->signals, BIT(signal));
            set &= ~BIT(signal);
        }
    }
    return set || p->ending || p->stopped;
}

/* As Linux has it: a signal that leaves a core behind is not so sure of it. */
bool signal_ends(void) {
    const struct process *p = current->process;

    for (u64 left = deliverable() & ~(IGNORED_BY_DEFAULT | STOPS | DUMPS); left; left &= left - 1)
        if (p->actions[__builtin_ctzl(left) + 1].handler == SIG_DFL)
            return true;
    return p->ending;
}

static void by_default(int signal) {
    if (!(BIT(signal) & STOPS))
        process_killed(signal);
    if (signal == SIGSTOP || !group_is_orphaned(current->process))
        process_stop(signal);
}

/* A call that was cut short: again from its beginning, if nothing happened in between. */
static void call_again(struct trapframe *tf) {
    tf->rip -= 2;                       /* the SYSCALL stands there, even where the site was rewritten */
    tf->rax = current->call;
}

static void run_handler(struct trapframe *tf, const struct siginfo *info) {
    if (current->interrupted) {
        if (tf->rax == (u64)-ERESTART && current->process->actions[info->signal].flags & SA_RESTART)
            call_again(tf);
        else
            tf->rax = (u64)-EINTR;
        current->deadline = 0;
        current->interrupted = false;
    }
    signal_call_handler(info);
}

void signal_deliver(void) {
    struct process *p = current->process;
    struct trapframe *tf = frame_of(current);
    struct siginfo info;

    for (;;) {
        while (p->stopped && !p->ending)
            sleep_while_stopped();
        if (p->ending)
            thread_exit(p->status);
        if (!signal_take(deliverable(), &info))
            break;
        if (signal_ignored(p, info.signal))
            continue;
        if (p->actions[info.signal].handler == SIG_DFL || BIT(info.signal) & UNSTOPPABLE)
            by_default(info.signal);
        else
            run_handler(tf, &info);
    }
    if (current->interrupted) {
        current->interrupted = false;
        call_again(tf);
    }
    if (current->restore_blocked) {     /* no handler took the old mask with it */
        current->restore_blocked = false;
        current->blocked = current->saved_blocked;
    }
}

/* The program's own exception: it cannot be put off, so a blocked or ignored one kills. */
void signal_fault(int signal, i32 code, u64 address) {
    struct task *t = current;
    struct process *p = t->process;
    struct siginfo info = {.signal = signal, .code = code, .address = address};

    if (t->blocked & BIT(signal) || p->actions[signal].handler <= SIG_IGN) {
        print("%s[%d]: %s at %lx, rip %lx", t->name, p->pid, signal_name(signal), address, frame_of(t)->rip);
        process_killed(signal);
    }
    signal_call_handler(&info);
}
