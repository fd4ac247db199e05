/* Waiting for children. */
#include "kernel.h"
#include "mm/vm.h"
#include "process.h"
#include "syscall/syscalls.h"
#include "time/time.h"

#define WNOHANG 1
#define WSTOPPED 2              /* WUNTRACED */
#define WEXITED 4
#define WCONTINUED 8
#define WNOWAIT 0x01000000
#define WNOTHREAD 0x20000000
#define WALL 0x40000000
#define WCLONE 0x80000000u

enum { P_ALL, P_PID, P_PGID, P_PIDFD };

struct found { i32 pid, code, status; u32 uid, word; struct process *zombie; };

static bool is_meant(const struct process *p, u32 which, i32 id, u32 options) {
    if (!(options & WALL) && !(options & WCLONE) != (p->exit_signal == SIGCHLD))
        return false;
    return which == P_ALL || (which == P_PID ? p->pid == id : p->group == id);
}

static bool has_status(struct process *p, u32 options, struct found *f) {
    bool keep = options & WNOWAIT;

    *f = (struct found){.pid = p->pid, .uid = p->uid.real};
    if (p->zombie && options & WEXITED) {
        f->word = p->status;
        f->code = end_code(p);
        f->status = end_status(p);
        f->zombie = p;
        return true;
    }
    if (p->stopped && !p->stop_told && options & WSTOPPED) {
        p->stop_told = !keep;
        f->word = p->stop_signal << 8 | 0x7f;
        f->code = CLD_STOPPED;
        f->status = (i32)p->stop_signal;
        return true;
    }
    if (p->continued && options & WCONTINUED) {
        p->continued = keep;
        f->word = 0xffff;
        f->code = CLD_CONTINUED;
        f->status = SIGCONT;
        return true;
    }
    return false;
}

static i64 wait_for_child(u32 which, i32 id, u32 options, struct found *f) {
    struct process *me = current->process;

    for (;;) {
        bool any = false;
        for (struct process *p = me->children; p; p = p->sibling) {
            if (p->unwanted || !is_meant(p, which, id, options))
                continue;
            any |= !p->zombie || options & (WEXITED | WCONTINUED);
            if (has_status(p, options, f))
                return 1;
        }
        if (!any)
            return -ECHILD;
        if (options & WNOHANG)
            return 0;
        if (sleep_on(&me->children, FOREVER))
            return -ERESTART;
    }
}

static void let_go(struct found *f, u32 options) {
    if (!f->zombie || options & WNOWAIT)
        return;
    struct process *me = current->process, *child = f->zombie;
    me->children_ns += child->cpu_ns + child->children_ns;
    me->children_most = MAX(me->children_most, MAX(child->most_pages, child->children_most));
    process_forget(child);
}

/* Of itself and of those that it has waited for. */
static int give_usage(u64 to, const struct found *f) {
    const struct process *child = f->zombie;
    struct rusage r = {0};

    if (child)
        r = (struct rusage){.user = timeval_of(child->cpu_ns + child->children_ns),
                            .max_kib = KIB(MAX(child->most_pages, child->children_most))};

    return to ? copy_out(to, &r, sizeof r) : 0;
}

i64 sys_wait4(i32 pid, u64 status, u32 options, u64 usage) {
    struct found f = {0};
    u32 which = pid == -1 ? P_ALL : pid > 0 ? P_PID : P_PGID;
    i32 id = pid > 0 ? pid : pid == 0 ? current->process->group : -pid;

    if (options & ~(WNOHANG | WSTOPPED | WCONTINUED | WNOTHREAD | WALL | WCLONE))
        return -EINVAL;
    if (pid == -2147483647 - 1)
        return -ESRCH;
    i64 found = wait_for_child(which, id, options | WEXITED, &f);
    if (found <= 0)
        return found;
    int error = give_usage(usage, &f);
    if (status && copy_out(status, &f.word, sizeof f.word))
        error = -EFAULT;
    let_go(&f, options);
    return error ? error : f.pid;
}

i64 sys_waitid(u32 which, i32 id, u64 to, u32 options, u64 usage) {
    struct found f = {0};
    struct siginfo info = {0};

    if (options & ~(WNOHANG | WNOWAIT | WEXITED | WSTOPPED | WCONTINUED | WNOTHREAD | WALL | WCLONE) ||
        !(options & (WEXITED | WSTOPPED | WCONTINUED)) || which > P_PGID || (which == P_PID && id <= 0) || id < 0)
        return -EINVAL;
    if (which == P_PGID && !id)
        id = current->process->group;
    i64 found = wait_for_child(which, id, options, &f);
    if (found < 0)
        return found;
    if (found)
        info = (struct siginfo){.signal = SIGCHLD, .code = f.code, .pid = f.pid, .uid = f.uid, .status = f.status};
    int error = give_usage(usage, &f);
    if (to && copy_out(to, &info, sizeof info))
        error = -EFAULT;
    let_go(&f, options);
    return error;
}
