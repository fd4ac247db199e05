/* /proc: names that are made when somebody looks, and texts that are written when somebody reads.
 *
 *   /proc ── self → 7
 *         ├─ meminfo, mounts, stat, uptime, …     text_ops
 *         └─ 7 ── stat, status, maps, cmdline, …  text_ops
 *               ├─ exe, cwd, root                 links that jump
 *               └─ fd ── 0, 1, 2                  links that jump
 */
#include "proc.h"

#include "device.h"
#include "file.h"
#include "inode.h"
#include "kernel.h"
#include "page.h"
#include "process.h"
#include "proctext.h"
#include "slab.h"
#include "time.h"
#include "vm.h"

#define TEXT_MAX 65536UL
#define NAME_SIZE 16

static const char *const files_of_all[] = {"meminfo", "mounts", "stat", "uptime", "version", "loadavg", "cpuinfo", "filesystems"};
static void (*const text_of_all[])(struct text *) = {text_meminfo, text_mounts, text_stat, text_uptime, text_version,
                                                    text_loadavg, text_cpuinfo, text_filesystems};
static const char *const files_of_one[] = {"stat", "status", "statm", "maps", "cmdline", "environ", "comm", "mounts"};
static void (*const text_of_one[])(struct text *) = {text_process_stat, text_process_status, text_process_statm,
                                                    text_process_maps, text_process_cmdline, text_process_environ,
                                                    text_process_comm, text_mounts};

/* An inode of /proc knows its process and what it shows: pid << 16 | index. */
static void *tag(i32 pid, u64 index) { return (void *)((u64)(u32)pid << 16 | index); }
static i32 pid_of(const struct inode *i) { return (i32)((u64)i->device >> 16); }
static u64 index_of(const struct inode *i) { return (u64)i->device & 0xffff; }

/* ---- texts ---- */

static i64 text_read(struct file *f, u8 *to, u64 n, u64 at) {
    struct text t = {.bytes = kmalloc(TEXT_MAX), .size = TEXT_MAX, .process = process_of(pid_of(f->inode))};
    i64 got = 0;

    if (!t.bytes)
        return -ENOMEM;
    if (!pid_of(f->inode))
        text_of_all[index_of(f->inode)](&t);
    else if (t.process)
        text_of_one[index_of(f->inode)](&t);
    else
        got = -ESRCH;
    if (!got && at < t.used) {
        got = (i64)MIN(n, t.used - at);
        memcpy(to, t.bytes + at, (u64)got);
    }
    kfree(t.bytes);
    return got;
}

static const struct file_ops text_ops = {.read = text_read};

/* ---- names ---- */

static void add(struct inode *directory, const char *name, struct inode *i) {
    if (!i)
        return;
    directory_add(directory, name, strlen(name), i);
    inode_put(i);
}

static void add_text(struct inode *directory, const char *name, i32 pid, u64 index) {
    struct inode *i = inode_new(S_IFREG | 0444);

    if (i) {
        i->ops = &text_ops;
        i->device = tag(pid, index);
    }
    add(directory, name, i);
}

/* Somebody may be on his way along the old one, so it stays if it says the same. */
static void set_target(struct inode *link, const char *target) {
    char *copy = link->target && strcmp(link->target, target) == 0 ? NULL : kmalloc(strlen(target) + 1);

    if (!copy)
        return;
    memcpy(copy, target, strlen(target));
    kfree(link->target);
    link->target = copy;
    link->size = strlen(target);
}

/* What the link says is for the eye; it leads to the inode, wherever that is called. */
static void set_jump(struct inode *link, struct inode *to) {
    char path[512];

    if (link->jump)
        inode_put(link->jump);
    link->jump = to;
    inode_get(to);
    if (inode_path(to, path, sizeof path))
        set_target(link, path);
}

static struct inode *add_link(struct inode *directory, const char *name) {
    struct dirent *d = directory_find(directory, name, strlen(name));
    struct inode *i = d ? d->inode : inode_new(S_IFLNK | 0777);

    if (!d)
        add(directory, name, i);
    return i;
}

static void remove_all(struct inode *directory) {
    while (directory->first) {
        struct inode *i = directory->first->inode;
        if (is_directory(i)) {
            inode_get(i);
            i->refresh = NULL;
            remove_all(i);
            directory_remove(directory->first);
            inode_put(i);
        } else {
            directory_remove(directory->first);
        }
    }
}

static void refresh_fds(struct inode *directory) {
    void (*refresh)(struct inode *) = directory->refresh;
    struct process *p = process_of((i32)(u64)directory->device);
    char name[NAME_SIZE];

    directory->refresh = NULL;          /* not while we look ourselves */
    remove_all(directory);
    for (i32 fd = 0; p && p->files && fd < MAX_FILES; fd++)
        if (p->files->file[fd]) {
            format(name, sizeof name, "%d", fd);
            struct inode *link = add_link(directory, name);
            if (link)
                set_jump(link, p->files->file[fd]->inode);
        }
    directory->refresh = refresh;
}

static void refresh_process(struct inode *directory) {
    void (*refresh)(struct inode *) = directory->refresh;
    struct process *p = process_of((i32)(u64)directory->device);
    struct inode *link;

    directory->refresh = NULL;
    if (p && p->program && (link = add_link(directory, "exe")))
        set_jump(link, p->program);
    if (p && p->directory && (link = add_link(directory, "cwd")))
        set_jump(link, p->directory);
    if (p && (link = add_link(directory, "root")))
        set_jump(link, root_inode);
    directory->refresh = refresh;
}

static struct inode *new_directory(struct inode *parent, const char *name, i32 pid, void (*refresh)(struct inode *)) {
    struct inode *i = inode_new(S_IFDIR | 0555);

    if (!i)
        return NULL;
    add(parent, name, i);
    i->device = (void *)(u64)(u32)pid;
    i->refresh = refresh;
    return i;
}

static void add_process(struct inode *proc, const struct process *p, const char *name) {
    struct inode *directory = new_directory(proc, name, p->pid, NULL);

    if (!directory)
        return;
    for (u64 i = 0; i < COUNT(files_of_one); i++)
        add_text(directory, files_of_one[i], p->pid, i);
    new_directory(directory, "fd", p->pid, refresh_fds);
    directory->refresh = refresh_process;
}

/* Those that ended go, new ones come, and "self" is whoever looks. */
static void refresh_proc(struct inode *proc) {
    char name[NAME_SIZE];
    struct dirent *next;

    proc->refresh = NULL;
    for (struct dirent *d = proc->first; d; d = next) {
        next = d->next;
        if (!is_directory(d->inode) || process_of((i32)(u64)d->inode->device))
            continue;
        d->inode->refresh = NULL;
        remove_all(d->inode);
        directory_remove(d);
    }
    for (const struct process *p = processes; p; p = p->next) {
        format(name, sizeof name, "%d", p->pid);
        if (!directory_find(proc, name, strlen(name)))
            add_process(proc, p, name);
    }
    format(name, sizeof name, "%d", current->process->pid);
    struct inode *self = add_link(proc, "self");
    if (self)
        set_target(self, name);
    proc->refresh = refresh_proc;
}

void proc_init(void) {
    struct dirent *old = directory_find(root_inode, "proc", 4);

    if (old && (!is_directory(old->inode) || old->inode->count))
        return;                         /* the root file system has brought its own */
    struct inode *proc = old ? old->inode : new_directory(root_inode, "proc", 0, NULL);
    if (!proc)
        return;
    for (u64 i = 0; i < COUNT(files_of_all); i++)
        add_text(proc, files_of_all[i], 0, i);
    proc->refresh = refresh_proc;
}
