/* A process's identity, limits and end. */
#include "fs/device.h"
#include "fs/file.h"
#include "kernel.h"
#include "mm/page.h"
#include "mm/slab.h"
#include "mm/vm.h"
#include "platform/entry.h"
#include "process.h"
#include "syscall/syscalls.h"
#include "time/itimer.h"
#include "time/time.h"

i64 sys_exit(i32 status) { thread_exit((status & 255) << 8); }
i64 sys_exit_group(i32 status) { process_exit((status & 255) << 8); }
i64 sys_getpid(void) { return current->process->pid; }
i64 sys_gettid(void) { return current->tid; }
i64 sys_getppid(void) { return current->process->parent ? current->process->parent->pid : 0; }
i64 sys_sched_yield(void) {
    yield();
    return 0;
}

i64 sys_umask(u32 mask) {
    u32 old = current->process->umask;

    current->process->umask = mask & 0777;
    return old;
}

struct utsname system_name = {"Linux", "paracell", "6.1.0-paracell", "#1 ParaCell", "x86_64", "(none)"};

static i64 set_name(char *name, u64 from, i32 n) {
    char new[sizeof system_name.nodename] = {0};

    if (!is_root())
        return -EPERM;
    if (n < 0 || (u64)n >= sizeof new)
        return -EINVAL;
    if (copy_in(new, from, (u64)n))
        return -EFAULT;
    memcpy(name, new, sizeof new);
    return 0;
}

i64 sys_sethostname(u64 from, i32 n) { return set_name(system_name.nodename, from, n); }
i64 sys_setdomainname(u64 from, i32 n) { return set_name(system_name.domain, from, n); }

i64 sys_uname(u64 to) {
    struct utsname name = system_name;

    if ((current->process->personality & PER_MASK) == PER_LINUX32)
        memcpy(name.machine, "i686", sizeof "i686");
    return copy_out(to, &name, sizeof name);
}

i64 sys_set_tid_address(u64 at) {
    current->clear_tid = at;
    return current->tid;
}

#define ROBUST_SIZE 24          /* of the list's head, futex.c */

i64 sys_set_robust_list(u64 head, u64 size) {
    if (size != ROBUST_SIZE)
        return -EINVAL;
    current->robust_list = head;
    return 0;
}

i64 sys_get_robust_list(i32 tid, u64 head, u64 size) {
    const struct task *t = tid ? task_of(tid) : current;
    u64 length = ROBUST_SIZE;

    if (!t)
        return -ESRCH;
    if (!may_look_into(t->process))
        return -EPERM;
    return copy_out(size, &length, sizeof length) || copy_out(head, &t->robust_list, sizeof t->robust_list) ? -EFAULT : 0;
}

i64 sys_arch_prctl(u32 code, u64 address) {
    u64 base;

    switch (code) {
    case ARCH_SET_FS: case ARCH_SET_GS:
        if (address >= USER_TOP)
            return -EPERM;
        if (code == ARCH_SET_FS)
            plat_set_fsbase(address);
        else
            plat_set_gsbase(address);
        return 0;
    case ARCH_GET_FS: case ARCH_GET_GS:
        base = code == ARCH_GET_FS ? plat_get_fsbase() : plat_get_gsbase();
        return copy_out(address, &base, sizeof base);
    default:
        return -EINVAL;
    }
}

i64 sys_prctl(u32 option, u64 a, u64 b, u64 c, u64 d) {
    char name[16] = {0};

    (void)b, (void)c, (void)d;
    switch (option) {
    case PR_SET_NAME:
        for (int i = 0; i < 15; i++)
            if (copy_in(&name[i], a + (u64)i, 1))
                return -EFAULT;
            else if (!name[i])
                break;
        memcpy(current->name, name, sizeof name);
        return 0;
    case PR_GET_NAME:
        return copy_out(a, current->name, sizeof name);
    case PR_SET_PDEATHSIG:
        if (a > SIGNALS)
            return -EINVAL;
        current->process->death_signal = (u32)a;
        return 0;
    case PR_GET_PDEATHSIG:
        return copy_out(a, &current->process->death_signal, 4);
    case PR_SET_CHILD_SUBREAPER:
        current->process->subreaper = a;
        return 0;
    case PR_GET_CHILD_SUBREAPER:
        return copy_out(a, &(u32){current->process->subreaper}, 4);
    case PR_GET_DUMPABLE:
        return current->process->dumpable;
    case PR_SET_DUMPABLE:
        if (a > 1)
            return -EINVAL;
        current->process->dumpable = a;
        return 0;
    case PR_GET_NO_NEW_PRIVS:
        return current->process->no_new_privileges;
    case PR_SET_NO_NEW_PRIVS:
        if (a != 1 || b || c || d)
            return -EINVAL;
        current->process->no_new_privileges = true;
        return 0;
    default:
        return -EINVAL;
    }
}

i64 sys_prlimit64(i32 pid, u32 resource, u64 new, u64 old) {
    struct process *p = process_at(pid);
    struct rlimit limit;

    if (new && copy_in(&limit, new, sizeof limit))
        return -EFAULT;
    if (!p || !may_limit(p))
        return p ? -EPERM : -ESRCH;
    if (resource >= RLIMITS)
        return -EINVAL;
    struct rlimit *mine = &p->limits[resource], before = *mine;
    if (new) {
        if (limit.soft > limit.hard)
            return -EINVAL;
        if ((resource == RLIMIT_NOFILE && limit.hard > MAX_FILES) || (limit.hard > before.hard && !is_root()))
            return -EPERM;
        *mine = limit;
        cpu_timers_plan(p);
    }
    return old ? copy_out(old, &before, sizeof before) : 0;
}

i64 sys_getrlimit(u32 resource, u64 to) { return sys_prlimit64(0, resource, 0, to); }
i64 sys_setrlimit(u32 resource, u64 from) { return sys_prlimit64(0, resource, from, 0); }

i64 sys_sysinfo(u64 to) {
    struct sysinfo s = {
        .uptime = (i64)(now_ns() / NS_PER_S), .total = pages_total() * PAGE_SIZE, .free = pages_free() * PAGE_SIZE,
        .processes = (u16)tasks_count(), .unit = 1,
    };
    return copy_out(to, &s, sizeof s);
}

i64 sys_sched_getaffinity(i32 pid, u64 size, u64 to) {
    u64 mask = 1;

    if (pid && !task_of(pid))
        return -ESRCH;
    if (size < sizeof mask || size & 7)
        return -EINVAL;
    return copy_out(to, &mask, sizeof mask) ? -EFAULT : (i64)sizeof mask;
}

i64 sys_sched_setaffinity(i32 pid, u64 size, u64 from) {
    u64 mask = 0;

    if (pid && !task_of(pid))
        return -ESRCH;
    if (copy_in(&mask, from, MIN(size, sizeof mask)))
        return -EFAULT;
    return mask & 1 ? 0 : -EINVAL;
}

/* There is one way to share the processor: SCHED_OTHER, with priority 0. */
#define SCHED_FIFO 1
#define SCHED_RR 2
#define SCHED_DEADLINE 6

static i64 check_schedule(i32 pid, u32 policy, u64 from) {
    i32 priority;

    if (pid < 0 || !from)
        return -EINVAL;
    if (copy_in(&priority, from, sizeof priority))
        return -EFAULT;
    if (pid && !task_of(pid))
        return -ESRCH;
    return policy || priority ? -EINVAL : 0;
}

i64 sys_sched_setparam(i32 pid, u64 from) { return check_schedule(pid, 0, from); }
i64 sys_sched_setscheduler(i32 pid, u32 policy, u64 from) { return check_schedule(pid, policy, from); }
i64 sys_sched_getscheduler(i32 pid) { return pid < 0 ? -EINVAL : pid && !task_of(pid) ? -ESRCH : 0; }

i64 sys_sched_getparam(i32 pid, u64 to) {
    i64 error = sys_sched_getscheduler(pid);
    i32 none = 0;

    return !to ? -EINVAL : error ? error : copy_out(to, &none, sizeof none);
}

static bool is_realtime(u32 policy) { return policy == SCHED_FIFO || policy == SCHED_RR; }
static bool is_policy(u32 policy) { return policy <= SCHED_DEADLINE && policy != 4; }
i64 sys_sched_get_priority_max(u32 policy) { return !is_policy(policy) ? -EINVAL : is_realtime(policy) ? 99 : 0; }
i64 sys_sched_get_priority_min(u32 policy) { return !is_policy(policy) ? -EINVAL : is_realtime(policy); }

i64 sys_getcpu(u64 cpu, u64 node) {
    u32 zero = 0;

    return (cpu && copy_out(cpu, &zero, 4)) || (node && copy_out(node, &zero, 4)) ? -EFAULT : 0;
}

/* Addresses are the same in each run already, so ADDR_NO_RANDOMIZE has nothing to switch off. */
i64 sys_personality(u32 persona) {
    u32 old = current->process->personality, kind = persona & PER_MASK;

    if (persona == ~0u)
        return old;
    if ((kind != PER_LINUX && kind != PER_LINUX32) || persona & ~(u32)(PER_MASK | ADDR_NO_RANDOMIZE))
        return -EINVAL;
    current->process->personality = persona;
    return old;
}

i64 sys_getrandom(u64 to, u64 n, u32 flags) {
    u8 bytes[256];
    u64 done = 0;

    if (flags > 7)
        return -EINVAL;
    while (done < n) {
        u64 part = MIN(n - done, sizeof bytes);
        random_bytes(bytes, part);
        if (copy_out(to + done, bytes, part))
            return done ? (i64)done : -EFAULT;
        done += part;
    }
    return (i64)done;
}
