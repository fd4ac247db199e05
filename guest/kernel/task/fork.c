/* New threads and processes. */
#include "fpu.h"
#include "fs/file.h"
#include "fs/inode.h"
#include "kernel.h"
#include "mm/page.h"
#include "mm/vm.h"
#include "platform/entry.h"
#include "process.h"
#include "syscall/syscalls.h"
#include "time/itimer.h"
#include "time/time.h"

#define CLONE_VM 0x100UL
#define CLONE_FS 0x200UL
#define CLONE_FILES 0x400UL
#define CLONE_SIGHAND 0x800UL
#define CLONE_PTRACE 0x2000UL
#define CLONE_VFORK 0x4000UL
#define CLONE_PARENT 0x8000UL
#define CLONE_THREAD 0x10000UL
#define CLONE_SYSVSEM 0x40000UL
#define CLONE_SETTLS 0x80000UL
#define CLONE_PARENT_SETTID 0x100000UL
#define CLONE_CHILD_CLEARTID 0x200000UL
#define CLONE_DETACHED 0x400000UL
#define CLONE_UNTRACED 0x800000UL
#define CLONE_CHILD_SETTID 0x1000000UL
#define CLONE_NAMESPACES 0x7e020080UL   /* and time: there is one of each */
#define CLONE_IO 0x80000000UL
#define CLONE_CLEAR_SIGHAND 0x100000000UL
#define OF_A_THREAD (CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD)
#define WITHOUT_EFFECT (CLONE_PTRACE | CLONE_SYSVSEM | CLONE_DETACHED | CLONE_UNTRACED | CLONE_IO)     /* we have neither ptrace nor System V semaphores */
#define KNOWN (OF_A_THREAD | CLONE_VFORK | CLONE_PARENT | CLONE_SETTLS | CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID | \
               CLONE_CHILD_SETTID | CLONE_CLEAR_SIGHAND | CLONE_NAMESPACES | WITHOUT_EFFECT)

#define PAGES_PER_PROCESS 256

struct clone { u64 flags, stack, tls, parent_tid, child_tid; u32 exit_signal; };

void sched_arrive(void);                /* sched.c */

u64 forks = 1;                          /* the first process was not made here */

/* Where switch_context() goes for a thread that has not run before. */
static void thread_begin(void) {
    sched_arrive();
    return_to_user();
    plat_enter_user(frame_of(current));
}

static void prepare_thread(struct task *t, const struct clone *c) {
    struct trapframe *tf = frame_of(t);
    u64 *stack = (u64 *)tf - 8;         /* what switch_context() takes: six registers, where to go, and what a call would push */

    memset(stack, 0, 6 * sizeof *stack);
    stack[6] = (u64)thread_begin;
    t->kernel_rsp = (u64)stack;
    *tf = *frame_of(current);
    tf->rax = 0;
    tf->vector = 0;
    if (c->stack)
        tf->rsp = c->stack;
    plat_save(&t->context);
    if (c->flags & CLONE_SETTLS)
        t->context.fs = c->tls;
    fpu_save(&t->fpu);
    memcpy(t->name, current->name, sizeof t->name);
    t->blocked = current->blocked;
    if (!(c->flags & CLONE_VM) || c->flags & CLONE_VFORK)
        t->altstack = current->altstack;
    if (c->flags & CLONE_CHILD_CLEARTID)
        t->clear_tid = c->child_tid;
}

static bool share_or_copy(struct process *p, const struct clone *c) {
    struct process *me = current->process;

    if (c->flags & CLONE_VM) {
        p->mm = me->mm;
        p->mm->refs++;
    } else if (!(p->mm = mm_copy(me->mm))) {
        return false;
    }
    if (c->flags & CLONE_FILES) {
        p->files = me->files;
        p->files->refs++;
    } else if (!(p->files = files_copy(me->files))) {
        mm_put(p->mm);
        return false;
    }
    return true;
}

static void inherit(struct process *p, const struct clone *c) {
    struct process *me = current->process;

    p->group = me->group;
    p->session = me->session;
    p->uid = me->uid;
    p->gid = me->gid;
    p->groups = me->groups;
    p->parent = c->flags & CLONE_PARENT && me->parent ? me->parent : me;
    p->sibling = p->parent->children;
    p->parent->children = p;
    p->root = me->root;
    inode_get(p->root);
    p->directory = me->directory;
    inode_get(p->directory);
    p->program = me->program;
    inode_get(p->program);
    p->umask = me->umask;
    p->exit_signal = c->flags & CLONE_PARENT ? me->exit_signal : c->exit_signal;      /* a parent hears of it as of its other children */
    p->keys = me->keys;
    p->nice = me->nice;
    p->io_priority = me->io_priority;
    p->personality = me->personality;
    p->dumpable = me->dumpable;
    p->no_new_privileges = me->no_new_privileges;
    memcpy(p->actions, me->actions, sizeof p->actions);
    if (c->flags & CLONE_CLEAR_SIGHAND)
        signal_handlers_drop(p);
    memcpy(p->limits, me->limits, sizeof p->limits);
    cpu_timers_plan(p);
    p->started = now_ns();
}

static struct process *new_process(const struct clone *c) {
    struct process *p = process_create();

    if (!p)
        return NULL;
    if (!share_or_copy(p, c)) {
        process_abandon(p);
        return NULL;
    }
    inherit(p, c);
    return p;
}

void vfork_done(struct process *p) {
    struct task *parent = p->vfork_parent;

    if (!parent)
        return;
    p->vfork_parent = NULL;
    parent->vforking = false;
    wakeup(&parent->vforking);
}

/* Threads share all that processes could share one by one; those share memory and files, or nothing. */
static bool is_offered(u64 flags) {
    if (flags & ~KNOWN)
        return false;
    if (flags & CLONE_THREAD)
        return (flags & OF_A_THREAD) == OF_A_THREAD && !(flags & (CLONE_VFORK | CLONE_CLEAR_SIGHAND));
    return !(flags & (CLONE_FS | CLONE_SIGHAND));
}

static int check(u64 flags) { return !is_offered(flags) ? -EINVAL : flags & CLONE_NAMESPACES ? -EPERM : 0; }

/* The kernel stacks may take an eighth of the memory, as by Linux's threads-max. */
static u64 tasks_max(void) { return pages_total() / (8UL << KSTACK_ORDER); }

/* A process has tables and pages of its own, too: with fewer than these it could not so much as begin. */
static bool has_room_for_process(void) { return processes_count() < pages_total() / PAGES_PER_PROCESS; }

static bool may_have_more(bool thread) {
    const struct process *me = current->process;

    return tasks_count() < tasks_max() && (thread || has_room_for_process()) &&
           (is_root() || !me->uid.real || tasks_of_user(me->uid.real) < me->limits[RLIMIT_NPROC].soft);
}

/* A parent that must end does not wait: the child may never let it go on. */
static void wait_for_vfork(struct process *child) {
    child->vfork_parent = current;
    current->vforking = true;
    while (current->vforking && !signal_ends())
        sleep_uninterruptible(&current->vforking);
    if (current->vforking)
        child->vfork_parent = NULL;     /* it lives, for it would have let us go */
    current->vforking = false;
}

static i64 clone(const struct clone *c) {
    bool thread = c->flags & CLONE_THREAD;
    int error = check(c->flags);

    if (error)
        return error;
    if (!may_have_more(thread))
        return -EAGAIN;
    struct process *p = thread ? current->process : new_process(c);
    struct task *t = !p ? NULL : thread ? task_create(p) : p->threads;
    if (!t)
        return thread ? -EAGAIN : -ENOMEM;
    i32 id = t->tid;
    prepare_thread(t, c);
    if (c->flags & CLONE_PARENT_SETTID)
        copy_out(c->parent_tid, &id, sizeof id);
    if (c->flags & CLONE_CHILD_SETTID)
        copy_out_to(p->mm, c->child_tid, &id, sizeof id);
    sched_add(t);
    forks++;
    if (c->flags & CLONE_VFORK)
        wait_for_vfork(p);
    return id;
}

i64 sys_clone(u64 flags, u64 stack, u64 parent_tid, u64 child_tid, u64 tls) {
    struct clone c = {(u32)flags & ~0xffUL, stack, tls, parent_tid, child_tid, (flags & 0xff) <= SIGNALS ? flags & 0xff : 0};

    return clone(&c);
}

i64 sys_fork(void) { return sys_clone(SIGCHLD, 0, 0, 0, 0); }
i64 sys_vfork(void) { return sys_clone(CLONE_VFORK | CLONE_VM | SIGCHLD, 0, 0, 0, 0); }

struct clone_args { u64 flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls; };

i64 sys_clone3(u64 args, u64 size) {
    struct clone_args a;

    if (size < sizeof a)
        return -EINVAL;
    if (copy_in(&a, args, sizeof a))
        return -EFAULT;
    if (a.flags & 0xff || a.exit_signal > SIGNALS || !a.stack != !a.stack_size)
        return -EINVAL;
    struct clone c = {a.flags, a.stack + a.stack_size, a.tls, a.parent_tid, a.child_tid, (u32)a.exit_signal};
    return clone(&c);
}
