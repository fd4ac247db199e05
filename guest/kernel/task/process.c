/* The table of processes. */
#include "process.h"

#include "fs/file.h"
#include "fs/inode.h"
#include "kernel.h"
#include "mm/page.h"
#include "mm/slab.h"
#include "mm/vm.h"
#include "proc/proc.h"

struct cpu boot_cpu;
struct process *processes, *init_process;

i32 last_id;

struct process *process_of(i32 pid) {
    for (struct process *p = processes; p; p = p->next)
        if (p->pid == pid)
            return p;
    return NULL;
}

struct process *process_at(i32 pid) { return pid ? process_of(pid) : current->process; }

struct task *task_of(i32 tid) {
    for (struct process *p = processes; p; p = p->next)
        for (struct task *t = p->threads; t; t = t->next_thread)
            if (t->tid == tid)
                return t;
    return NULL;
}

/* A zombie has no thread, but takes a place and a number all the same. */
static u32 tasks_of(const struct process *p) { return MAX(p->thread_count, 1); }

u32 tasks_count(void) {
    u32 count = 0;

    for (struct process *p = processes; p; p = p->next)
        count += tasks_of(p);
    return count;
}

u32 processes_count(void) {
    u32 count = 0;

    for (const struct process *p = processes; p; p = p->next)
        count++;
    return count;
}

u32 tasks_of_user(u32 uid) {
    u32 count = 0;

    for (struct process *p = processes; p; p = p->next)
        count += p->uid.real == uid ? tasks_of(p) : 0;
    return count;
}

/* No group or session may be called so, either. */
static bool is_taken(i32 id) {
    for (struct process *p = processes; p; p = p->next)
        if (p->pid == id || p->group == id || p->session == id)
            return true;
    return task_of(id);
}

static i32 new_id(void) {
    do
        last_id = last_id < PID_MAX ? last_id + 1 : 2;
    while (is_taken(last_id));
    return last_id;
}

struct task *task_create(struct process *p) {
    struct task *t = kmalloc(sizeof *t), **last = &p->threads;

    if (!t || !(t->kstack = block_alloc(KSTACK_ORDER))) {
        kfree(t);
        return NULL;
    }
    t->process = p;
    t->tid = p->threads ? new_id() : p->pid;
    t->altstack.flags = SS_DISABLE;
    while (*last)
        last = &(*last)->next_thread;
    *last = t;
    p->thread_count++;
    return t;
}

struct process *process_create(void) {
    struct process *p = kmalloc(sizeof *p);

    if (!p)
        return NULL;
    p->pid = new_id();
    if (!task_create(p)) {
        kfree(p);
        return NULL;
    }
    p->next = processes;
    processes = p;
    return p;
}

void process_forget(struct process *p) {
    struct process **at = &processes;

    proc_forget(p->pid);
    while (*at != p)
        at = &(*at)->next;
    *at = p->next;
    if (p->parent) {
        for (at = &p->parent->children; *at != p;)
            at = &(*at)->sibling;
        *at = p->sibling;
    }
    kfree(p);
}

/* One that never came to life. */
void process_abandon(struct process *p) {
    block_free(p->threads->kstack, KSTACK_ORDER);
    kfree(p->threads);
    process_forget(p);
}
