/* The life of a process. */
#include "process.h"

#include "file.h"
#include "inode.h"
#include "kernel.h"
#include "page.h"
#include "slab.h"
#include "vm.h"

struct cpu boot_cpu;

static i32 next_pid = 1;

struct task *process_create(void) {
    struct process *p = kmalloc(sizeof *p);
    struct task *t = kmalloc(sizeof *t);

    if (!p || !t || !(t->kstack = block_alloc(KSTACK_ORDER)) || !(p->files = files_create()) || !(p->mm = mm_create()))
        panic("no memory for a process");
    p->pid = t->tid = p->group = p->session = next_pid++;
    p->umask = 022;
    p->directory = root_inode;
    inode_get(root_inode);
    for (int i = 0; i < RLIMITS; i++)
        p->limits[i] = (struct rlimit){RLIM_INFINITY, RLIM_INFINITY};
    p->limits[RLIMIT_STACK] = (struct rlimit){8UL << 20, RLIM_INFINITY};
    p->limits[RLIMIT_NOFILE] = (struct rlimit){MAX_FILES, MAX_FILES};
    t->process = p;
    t->altstack.flags = SS_DISABLE;
    return t;
}

/* The first process ends, and the container with it. */
void process_exit(int status) { plat_exit(status); }

void process_killed(int signal) { process_exit(128 + signal); }
