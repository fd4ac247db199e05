/* The texts of /proc, in Linux's form. */
#include "proctext.h"

#include <stdarg.h>

#include "fs/inode.h"
#include "kernel.h"
#include "mm/code.h"
#include "mm/page.h"
#include "mm/vm.h"
#include "platform/entry.h"
#include "platform/time.h"
#include "task/process.h"
#include "time/time.h"

#define TICK (NS_PER_S / 100)

void text_add(struct text *t, const char *f, ...) {
    va_list args;

    va_start(args, f);
    t->used += format_list((char *)t->bytes + t->used, t->size - t->used, f, args);
    va_end(args);
}

void text_meminfo(struct text *t) {
    u64 total = pages_total(), free = pages_free();

    text_add(t, "MemTotal:       %8lu kB\nMemFree:        %8lu kB\nMemAvailable:   %8lu kB\n", KIB(total), KIB(free), KIB(free));
    text_add(t, "Buffers:        %8lu kB\nCached:         %8lu kB\nSwapCached:     %8lu kB\n", 0UL, 0UL, 0UL);
    text_add(t, "SwapTotal:      %8lu kB\nSwapFree:       %8lu kB\nShmem:          %8lu kB\nSReclaimable:   %8lu kB\n", 0UL,
             0UL, KIB(total / 2 - tmpfs_pages_left()), 0UL);
}

void text_mounts(struct text *t) {
    text_add(t, "tmpfs / tmpfs rw,relatime 0 0\nproc /proc proc rw,relatime 0 0\n");
}

static u64 running(void) {
    u64 count = 0;

    for (const struct process *p = processes; p; p = p->next)
        for (const struct task *k = p->threads; k; k = k->next_thread)
            count += k->state == RUNNABLE;
    return count;
}

/* What no process has had, nor those that it has waited for. */
static u64 idle_ticks(void) {
    u64 used = 0, up = now_ns() / TICK;

    for (const struct process *p = processes; p; p = p->next)
        used += cpu_time(p) + p->children_ns;
    return up - MIN(used / TICK, up);
}

void text_stat(struct text *t) {
    u64 idle = idle_ticks(), used = now_ns() / TICK - idle;

    text_add(t, "cpu  %lu 0 0 %lu 0 0 0 0 0 0\ncpu0 %lu 0 0 %lu 0 0 0 0 0 0\n", used, idle, used, idle);
    text_add(t, "intr 0\nctxt 0\nbtime %lu\nprocesses %lu\nprocs_running %lu\nprocs_blocked 0\n",
             (calendar_ns() - now_ns()) / NS_PER_S, forks, running());
}

void text_uptime(struct text *t) {
    u64 up = now_ns() / TICK, idle = idle_ticks();

    text_add(t, "%lu.%02lu %lu.%02lu\n", up / 100, up % 100, idle / 100, idle % 100);
}

void text_version(struct text *t) { text_add(t, "Linux version %s (ParaCell) #1 ParaCell\n", system_name.release); }
void text_ostype(struct text *t) { text_add(t, "%s\n", system_name.sysname); }
void text_osrelease(struct text *t) { text_add(t, "%s\n", system_name.release); }
void text_hostname(struct text *t) { text_add(t, "%s\n", system_name.nodename); }
void text_pid_max(struct text *t) { text_add(t, "%d\n", PID_MAX); }
/* Nobody looks every few seconds, so there are no averages. */
void text_loadavg(struct text *t) { text_add(t, "0.00 0.00 0.00 %lu/%u %d\n", running(), tasks_count(), last_id); }
void text_filesystems(struct text *t) { text_add(t, "nodev\ttmpfs\nnodev\tproc\n"); }

/* CPUID.1:EDX, bit by bit. */
static const char *const flags[32] = {
    "fpu", "vme", "de", "pse", "tsc", "msr", "pae", "mce", "cx8", "apic", NULL, "sep", "mtrr", "pge", "mca", "cmov",
    "pat", "pse36", "pn", "clflush", NULL, "dts", "acpi", "mmx", "fxsr", "sse", "sse2", "ss", "ht", "tm", "ia64", "pbe",
};

void text_cpuinfo(struct text *t) {
    text_add(t, "processor\t: 0\nvendor_id\t: GenuineIntel\nmodel name\t: ParaCell\ncpu MHz\t\t: %lu.000\nflags\t\t:",
             plat_cycles_per_second() / 1000000);
    for (u64 i = 0; i < COUNT(flags); i++)
        if (flags[i] && plat_hwcap() >> i & 1)
            text_add(t, " %s", flags[i]);
    text_add(t, "\n\n");
}

/* ---- one process ---- */

static char state_of(const struct process *p) {
    if (p->zombie)
        return 'Z';
    if (p->stopped)
        return 'T';
    for (const struct task *t = p->threads; t; t = t->next_thread)
        if (t->state == RUNNABLE)
            return 'R';
    return 'S';
}

static const char *name_of_process(const struct process *p) { return p->threads ? p->threads->name : p->last_name; }

static u64 size_of(const struct process *p) { return p->mm ? mm_size(p->mm, 0, USER_TOP) : 0; }

static u64 resident(const struct process *p) { return p->mm ? p->mm->pages : 0; }
static i32 parent_of(const struct process *p) { return p->parent ? p->parent->pid : 0; }

void text_process_comm(struct text *t) { text_add(t, "%s\n", name_of_process(t->process)); }

void text_process_stat(struct text *t) {
    const struct process *p = t->process;
    u64 cpu = cpu_time(p) / TICK, children = p->children_ns / TICK;

    text_add(t, "%d (%s) %c %d %d %d 0 -1 0 0 0 0 0 ", p->pid, name_of_process(p), state_of(p), parent_of(p), p->group, p->session);
    text_add(t, "%lu 0 %lu 0 %d %d %u 0 %lu %lu %lu ", cpu, children, 20 + p->nice, p->nice, p->thread_count,
             p->started / TICK + 1, size_of(p), resident(p));
    text_add(t, "18446744073709551615 0 0 0 0 0 %lu %lu 0 0 0 0 0 %u 0 0 0 0 0 0 0 0 0 0 0 0 0 0 %u\n", p->signals.set,
             p->threads ? p->threads->blocked : 0, p->exit_signal, p->status);
}

/* The fourth, for files, is the effective one. */
static void add_ids(struct text *t, const char *name, const struct ids *ids) {
    text_add(t, "%s:\t%u\t%u\t%u\t%u\n", name, ids->real, ids->effective, ids->saved, ids->effective);
}

void text_process_status(struct text *t) {
    const struct process *p = t->process;
    u64 ignored = 0, caught = 0;
    const char *state = "S (sleeping)";

    switch (state_of(p)) {
    case 'R': state = "R (running)"; break;
    case 'T': state = "T (stopped)"; break;
    case 'Z': state = "Z (zombie)"; break;
    }
    for (int s = 1; s <= SIGNALS; s++) {
        ignored |= p->actions[s].handler == SIG_IGN ? SIGNAL_BIT(s) : 0;
        caught |= p->actions[s].handler > SIG_IGN ? SIGNAL_BIT(s) : 0;
    }
    text_add(t, "Name:\t%s\nUmask:\t%04o\nState:\t%s\nTgid:\t%d\nNgid:\t0\nPid:\t%d\nPPid:\t%d\nTracerPid:\t0\n", name_of_process(p),
             p->umask, state, p->pid, p->pid, parent_of(p));
    add_ids(t, "Uid", &p->uid);
    add_ids(t, "Gid", &p->gid);
    text_add(t, "FDSize:\t1024\nGroups:\t");
    for (u32 i = 0; i < p->groups.count; i++)
        text_add(t, "%u ", p->groups.id[i]);
    text_add(t, "\n");
    text_add(t, "VmSize:\t%8lu kB\nVmHWM:\t%8lu kB\nVmRSS:\t%8lu kB\nThreads:\t%u\n", size_of(p) / 1024, KIB(most_pages(p)), KIB(resident(p)),
             p->thread_count);
    text_add(t, "SigPnd:\t%016lx\nShdPnd:\t%016lx\nSigBlk:\t%016lx\nSigIgn:\t%016lx\nSigCgt:\t%016lx\n",
             p->threads ? p->threads->signals.set : 0, p->signals.set, p->threads ? p->threads->blocked : 0, ignored, caught);
    text_add(t, "NoNewPrivs:\t%d\nSeccomp:\t0\nCpus_allowed:\t1\nCpus_allowed_list:\t0\n", p->no_new_privileges);
}

void text_process_statm(struct text *t) {
    text_add(t, "%lu %lu 0 0 0 0 0\n", size_of(t->process) >> PAGE_SHIFT, resident(t->process));
}

/* The strings lie on the first stack, where the program may have changed them. */
static void add_memory(struct text *t, u64 from, u64 to) {
    struct mm *mm = t->process->mm;

    for (u64 at = from, part; mm && at < to && t->used < t->size; at += part) {
        part = MIN(MIN(to - at, PAGE_SIZE - (at & PAGE_MASK)), t->size - t->used);
        const void *page = user_page(mm, at, ACCESS_READ);
        if (!page)
            return;
        memcpy(t->bytes + t->used, page, part);
        t->used += part;
    }
}

void text_process_cmdline(struct text *t) {
    if (t->process->mm)
        add_memory(t, t->process->mm->arguments, t->process->mm->environment);
}

void text_process_environ(struct text *t) {
    if (t->process->mm)
        add_memory(t, t->process->mm->environment, t->process->mm->strings_end);
}

bool inode_path(const struct inode *i, char *to, u64 size) {
    const struct dirent *d;

    if (is_directory(i))
        return name_of((struct inode *)i, to, size) > 0;
    if ((i->mode & S_IFMT) == S_IFIFO && !i->links)
        return format(to, size, "pipe:[%lu]", i->number);
    if ((i->mode & S_IFMT) == S_IFSOCK && !i->links)
        return format(to, size, "socket:[%lu]", i->number);
    if ((d = directory_name_of(i)))
        return path_of(d, to, size);
    if (i->was)
        return format(to, size, "%s (deleted)", i->was);
    return format(to, size, i->mode & S_IFMT ? "/ (deleted)" : "anon_inode:[file]");
}

void text_process_maps(struct text *t) {
    struct mm *mm = t->process->mm;
    char path[512];

    for (const struct vma *v = mm ? mm->first : NULL; v; v = v->next) {
        bool heap = !v->inode && v->start < mm->brk && v->end > mm->brk_start, stack = v->end == mm->stack_top;
        path[0] = 0;
        const struct inode *file = v->inode && !is_stub(v) ? file_of(v->inode) : NULL;
        if (file)
            inode_path(file, path, sizeof path);
        text_add(t, "%08lx-%08lx %c%c%c%c %08lx 00:01 %lu", v->start, v->end, v->prot & PROT_READ ? 'r' : '-',
                 v->prot & PROT_WRITE ? 'w' : '-', v->prot & PROT_EXEC ? 'x' : '-', v->shared ? 's' : 'p',
                 file ? v->offset : 0, file ? file->number : 0);
        const char *label = file ? path : heap ? "[heap]" : stack ? "[stack]" : "";
        text_add(t, *label ? "                    %s\n" : "%s\n", label);
    }
}
