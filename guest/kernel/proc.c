/* /proc: names that are made when somebody looks, and texts that are written when somebody reads.
 *
 *   /proc ── self → 7
 *         ├─ meminfo, mounts, stat, uptime, …     text_ops
 *         ├─ sys/kernel ── ostype, pid_max, …       text_ops
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

struct entry { const char *name; void (*write)(struct text *); };

/* From FIRST_OF_KERNEL on, in sys/kernel. */
#define FIRST_OF_KERNEL 8
static const struct entry of_all[] = {
    {"meminfo", text_meminfo}, {"mounts", text_mounts}, {"stat", text_stat}, {"uptime", text_uptime},
    {"version", text_version}, {"loadavg", text_loadavg}, {"cpuinfo", text_cpuinfo}, {"filesystems", text_filesystems},
    {"ostype", text_ostype}, {"osrelease", text_osrelease}, {"hostname", text_hostname}, {"pid_max", text_pid_max},
};
static const struct entry of_one[] = {
    {"stat", text_process_stat}, {"status", text_process_status}, {"statm", text_process_statm}, {"maps", text_process_maps},
    {"cmdline", text_process_cmdline}, {"environ", text_process_environ}, {"comm", text_process_comm}, {"mounts", text_mounts},
};

/* An inode of /proc knows its process and what it shows: pid << 16 | index. */
static void *tag(i32 pid, u64 index) { return (void *)((u64)(u32)pid << 16 | index); }
static i32 pid_of(const struct inode *i) { return (i32)((u64)i->device >> 16); }
static i32 process_in(const struct inode *directory) { return (i32)(u64)directory->device; }
static u64 index_of(const struct inode *i) { return (u64)i->device & 0xffff; }

/* ---- texts ---- */

static i64 text_read(struct file *f, u8 *to, u64 n, u64 at) {
    struct text t = {.bytes = kmalloc(TEXT_MAX), .size = TEXT_MAX, .process = process_of(pid_of(f->inode))};
    i64 got = 0;

    if (!t.bytes)
        return -ENOMEM;
    if (!pid_of(f->inode))
        of_all[index_of(f->inode)].write(&t);
    else if (t.process)
        of_one[index_of(f->inode)].write(&t);
    else
        got = -ESRCH;
    if (!got && at < t.used) {
        got = (i64)MIN(n, t.used - at);
        memcpy(to, t.bytes + at, (u64)got);
    }
    kfree(t.bytes);
    return got;
}

/* A process may be renamed by its own threads. */
static i64 comm_write(struct file *f, const u8 *from, u64 n, u64 at) {
    struct process *p = process_of(pid_of(f->inode));

    (void)at;
    if (p != current->process)
        return p ? -EINVAL : -ESRCH;
    memset(p->threads->name, 0, sizeof p->threads->name);
    memcpy(p->threads->name, from, MIN(n, sizeof p->threads->name - 1));
    return (i64)n;
}

static const struct file_ops text_ops = {.read = text_read};
static const struct file_ops comm_ops = {.read = text_read, .write = comm_write};

/* ---- names ---- */

bool proc_is_gone(const struct inode *directory) { return directory->device && !process_of(process_in(directory)); }

static void add(struct inode *directory, const char *name, struct inode *i) {
    if (!i)
        return;
    directory_add(directory, name, strlen(name), i);
    inode_put(i);
}

/* What is there to be read belongs to the process that it tells of. */
static void belongs_to(struct inode *i, const struct process *p) {
    i->uid = p ? p->uid.effective : 0;
    i->gid = p ? p->gid.effective : 0;
}

static void add_text(struct inode *directory, const struct entry *e, const struct process *p, u64 index) {
    bool comm = e->write == text_process_comm;
    struct inode *i = inode_new(S_IFREG | (comm ? 0644 : e->write == text_process_environ ? 0400 : 0444));

    if (i) {
        i->ops = comm ? &comm_ops : &text_ops;
        i->device = tag(p ? p->pid : 0, index);
        belongs_to(i, p);
    }
    add(directory, e->name, i);
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

static u64 decimal(const char *s) {
    u64 value = 0;

    while (*s)
        value = value * 10 + (u64)(*s++ - '0');
    return value;
}

static void refresh_fds(struct inode *directory) {
    void (*refresh)(struct inode *) = directory->refresh;
    struct process *p = process_of(process_in(directory));
    char name[NAME_SIZE];

    directory->refresh = NULL;          /* not while we look ourselves */
    for (struct dirent *d = directory->first, *next; d; d = next) {     /* what stays keeps its place, for getdents */
        next = d->next;
        i32 fd = (i32)decimal(d->name);
        if (!p || !p->files || !p->files->file[fd])
            directory_remove(d);
    }
    for (i32 fd = 0; p && p->files && fd < MAX_FILES; fd++)
        if (p->files->file[fd]) {
            format(name, sizeof name, "%d", fd);
            struct inode *link = add_link(directory, name);
            if (link)
                set_jump(link, p->files->file[fd]->inode);
        }
    directory->refresh = refresh;
}

/* A zombie has none of these any more. */
static void refresh_link(struct inode *directory, const char *name, struct inode *to) {
    struct inode *link = to ? add_link(directory, name) : NULL;
    struct dirent *d = directory_find(directory, name, strlen(name));

    if (link)
        set_jump(link, to);
    else if (d)
        directory_remove(d);
}

static void refresh_process(struct inode *directory) {
    const struct process *p = process_of(process_in(directory));

    directory->refresh = NULL;
    refresh_link(directory, "exe", p ? p->program : NULL);
    refresh_link(directory, "cwd", p ? p->directory : NULL);
    refresh_link(directory, "root", p && p->directory ? root_inode : NULL);
    directory->refresh = refresh_process;
}

static void refresh_nothing(struct inode *directory) { (void)directory; }

static struct inode *new_directory(struct inode *parent, const char *name, const struct process *p,
                                   void (*refresh)(struct inode *)) {
    struct inode *i = inode_new(S_IFDIR | 0555);

    if (!i)
        return NULL;
    add(parent, name, i);
    i->device = (void *)(u64)(u32)(p ? p->pid : 0);
    i->refresh = refresh;
    belongs_to(i, p);
    return i;
}

static void add_process(struct inode *proc, const struct process *p, const char *name) {
    struct inode *directory = new_directory(proc, name, p, NULL);

    if (!directory)
        return;
    for (u64 i = 0; i < COUNT(of_one); i++)
        add_text(directory, &of_one[i], p, i);
    new_directory(directory, "fd", p, refresh_fds);
    directory->refresh = refresh_process;
}

static const struct process *next_process(i32 pid) {
    const struct process *next = NULL;

    for (const struct process *p = processes; p; p = p->next)
        if (p->pid > pid && (!next || p->pid < next->pid))
            next = p;
    return next;
}

/* Those that ended go, new ones come, and "self" is whoever looks. */
static void refresh_proc(struct inode *proc) {
    char name[NAME_SIZE];
    struct dirent *next;

    proc->refresh = NULL;
    for (struct dirent *d = proc->first; d; d = next) {
        next = d->next;
        if (!is_directory(d->inode) || !proc_is_gone(d->inode))
            continue;
        d->inode->refresh = NULL;
        remove_all(d->inode);
        directory_remove(d);
    }
    for (const struct process *p = next_process(0); p; p = next_process(p->pid)) {
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
    struct inode *proc = old ? old->inode : new_directory(root_inode, "proc", NULL, NULL);
    struct inode *sys = proc ? new_directory(proc, "sys", NULL, NULL) : NULL;
    struct inode *kernel = sys ? new_directory(sys, "kernel", NULL, NULL) : NULL;
    if (!kernel)
        return;
    proc->mode = S_IFDIR | 0555;
    for (u64 i = 0; i < COUNT(of_all); i++)
        add_text(i < FIRST_OF_KERNEL ? proc : kernel, &of_all[i], NULL, i);
    proc->refresh = refresh_proc;
    sys->refresh = kernel->refresh = refresh_nothing;
}
