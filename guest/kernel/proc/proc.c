/* /proc: a lookup makes the names, and a read makes the texts.
 *
 *   /proc ── self → 7
 *         ├─ meminfo, mounts, stat, uptime, …     text_ops
 *         ├─ sys/kernel ── ostype, pid_max, …       text_ops
 *         ├─ net ── dev, tcp, unix, …               text_ops
 *         └─ 7 ── stat, status, maps, cmdline, …  text_ops
 *               ├─ exe, cwd, root                 links that jump
 *               └─ fd ── 0, 1, 2                  links that jump
 */
#include "proc.h"

#include "fs/device.h"
#include "fs/file.h"
#include "fs/inode.h"
#include "kernel.h"
#include "mm/page.h"
#include "mm/slab.h"
#include "mm/vm.h"
#include "proctext.h"
#include "task/process.h"
#include "time/time.h"

#define TEXT_MAX 65536UL
#define NAME_SIZE 16

static struct inode *proc;

struct entry { const char *name; void (*write)(struct text *); };

/* From FIRST_OF_KERNEL on, in sys/kernel; from FIRST_OF_NET on, in net. */
#define FIRST_OF_KERNEL 8
#define FIRST_OF_NET 12
static const struct entry of_all[] = {
    {"meminfo", text_meminfo}, {"mounts", text_mounts}, {"stat", text_stat}, {"uptime", text_uptime},
    {"version", text_version}, {"loadavg", text_loadavg}, {"cpuinfo", text_cpuinfo}, {"filesystems", text_filesystems},
    {"ostype", text_ostype}, {"osrelease", text_osrelease}, {"hostname", text_hostname}, {"pid_max", text_pid_max},
    {"dev", text_net_dev}, {"if_inet6", text_net_if_inet6}, {"route", text_net_route}, {"tcp", text_net_tcp}, {"tcp6", text_net_tcp6},
    {"udp", text_net_udp}, {"udp6", text_net_udp6}, {"unix", text_net_unix},
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

/* The process itself may search it even after it has changed its user. */
bool proc_is_own_fd(const struct inode *i) {
    return i->in_proc && i->mode == (S_IFDIR | 0500) && process_in(i) == current->process->pid;
}

bool proc_is_gone(const struct inode *directory) { return directory->device && !process_of(process_in(directory)); }

static void add(struct inode *directory, const char *name, struct inode *i) {
    if (!i)
        return;
    i->in_proc = true;
    directory_add(directory, name, strlen(name), i);
    inode_put(i);
}

/* A file belongs to the user of its process, or to root if that process is not dumpable. */
static void belongs_to(struct inode *i, const struct process *p) {
    bool theirs = p && (p->dumpable || i->mode == (S_IFDIR | 0555));

    i->uid = theirs ? p->uid.effective : 0;
    i->gid = theirs ? p->gid.effective : 0;
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
}

/* It leads to the inode, wherever that is called: where it says so, in readlink(), is for the eye. */
static void set_jump(struct inode *link, struct inode *to) {
    if (link->jump)
        inode_put(link->jump);
    link->jump = to;
    inode_get(to);
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

/* Is the name a number as we write them?  `copy` is the name with its end. */
static bool is_decimal(const char *name, u64 length, char copy[NAME_SIZE]) {
    if (!length || length > 9 || (name[0] == '0' && length > 1))
        return false;
    for (u64 i = 0; i < length; i++)
        if (name[i] < '0' || name[i] > '9')
            return false;
    memcpy(copy, name, length);
    copy[length] = 0;
    return true;
}

/* NULL: there is none any more. */
static void refresh_link(struct inode *directory, const char *name, struct inode *to, u32 rights) {
    struct inode *link = to ? add_link(directory, name) : NULL;
    struct dirent *d = directory_find(directory, name, strlen(name));

    if (link) {
        set_jump(link, to);
        link->device = directory->device;
        link->mode = S_IFLNK | rights;
        belongs_to(link, process_of(process_in(directory)));
    } else if (d) {
        directory_remove(d);
    }
}

bool proc_may_follow(const struct inode *link) {
    const struct process *p = process_of(process_in(link));

    return p && may_look_into(p);
}

static void refresh_fd(struct inode *directory, const char *name) {
    const struct process *p = process_of(process_in(directory));
    i32 fd = (i32)decimal(name);
    struct file *f = p && p->files && fd < MAX_FILES ? p->files->file[fd] : NULL;

    refresh_link(directory, name, f ? f->inode : NULL, f ? (readable(f) ? 0500u : 0) | (writable(f) ? 0300u : 0) : 0);
}

static void refresh_fds(struct inode *directory, const char *name, u64 length) {
    const struct process *p = process_of(process_in(directory));
    char number[NAME_SIZE];

    directory->refresh = NULL;          /* not while we look ourselves */
    if (name) {
        if (is_decimal(name, length, number))
            refresh_fd(directory, number);
    } else {
        for (struct dirent *d = directory->first, *next; d; d = next) {     /* what stays keeps its place, for getdents */
            next = d->next;
            refresh_fd(directory, d->name);
        }
        for (i32 fd = 0; p && p->files && fd < MAX_FILES; fd++)
            if (p->files->file[fd]) {
                format(number, sizeof number, "%d", fd);
                refresh_fd(directory, number);
            }
    }
    directory->refresh = refresh_fds;
}

static void refresh_process(struct inode *directory, const char *name, u64 length) {
    const struct process *p = process_of(process_in(directory));
    const struct { const char *name; struct inode *to; } links[] = {
        {"exe", p ? p->program : NULL}, {"cwd", p ? p->directory : NULL}, {"root", p ? p->root : NULL},
    };

    directory->refresh = NULL;
    for (u64 i = 0; i < COUNT(links); i++)          /* a zombie has none of these any more */
        if (!name || (strlen(links[i].name) == length && memcmp(links[i].name, name, length) == 0))
            refresh_link(directory, links[i].name, links[i].to, 0777);
    belongs_to(directory, p);
    for (const struct dirent *d = directory->first; d; d = d->next)
        belongs_to(d->inode, p);
    directory->refresh = refresh_process;
}

static void refresh_nothing(struct inode *directory, const char *name, u64 length) {
    (void)directory;
    (void)name;
    (void)length;
}

static struct inode *new_directory(struct inode *parent, const char *name, const struct process *p,
                                   void (*refresh)(struct inode *, const char *, u64)) {
    struct inode *i = inode_new(S_IFDIR | (refresh == refresh_fds ? 0500 : 0555));

    if (!i)
        return NULL;
    add(parent, name, i);
    i->device = (void *)(u64)(u32)(p ? p->pid : 0);
    i->refresh = refresh;
    belongs_to(i, p);
    return i;
}

static void add_process(const struct process *p) {
    char name[NAME_SIZE];
    struct dirent *d = directory_find(proc, name, format(name, sizeof name, "%d", p->pid));
    struct inode *directory = d ? NULL : new_directory(proc, name, p, NULL);

    if (d)
        belongs_to(d->inode, p);
    if (!directory)
        return;
    for (u64 i = 0; i < COUNT(of_one); i++)
        add_text(directory, &of_one[i], p, i);
    new_directory(directory, "fd", p, refresh_fds);
    directory->refresh = refresh_process;
}

static struct process *first_unlisted(void) {
    struct process *first = NULL;

    for (struct process *p = processes; p; p = p->next)
        if (!p->listed && (!first || p->pid < first->pid))
            first = p;
    return first;
}

/* /proc/self: a link to the process that follows it. */
static void refresh_self(struct inode *directory) {
    char name[NAME_SIZE];
    struct inode *self = add_link(directory, "self");

    format(name, sizeof name, "%d", current->process->pid);
    if (self)
        set_target(self, name);
}

/* Those before a process get their names first, so that a listing goes up. */
static void add_up_to(i32 pid) {
    struct process *p;

    while ((p = first_unlisted()) && p->pid <= pid) {
        p->listed = true;               /* or there is no memory for it, now or the next time */
        add_process(p);
    }
}

static void refresh_proc(struct inode *directory, const char *name, u64 length) {
    const struct process *p;
    char number[NAME_SIZE];

    directory->refresh = NULL;
    if (!name)
        add_up_to(PID_MAX);
    else if (is_decimal(name, length, number) && (p = process_of((i32)decimal(number)))) {
        add_up_to(p->pid);
        add_process(p);
    }
    if (!name || (length == 4 && memcmp(name, "self", 4) == 0))
        refresh_self(directory);
    directory->refresh = refresh_proc;
}

void proc_forget(i32 pid) {
    char name[NAME_SIZE];

    if (!proc)
        return;
    proc->refresh = NULL;
    struct dirent *d = directory_find(proc, name, format(name, sizeof name, "%d", pid));
    if (d) {
        d->inode->refresh = NULL;
        remove_all(d->inode);
        directory_remove(d);
    }
    proc->refresh = refresh_proc;
}

void proc_init(void) {
    struct dirent *old = directory_find(root_inode, "proc", 4);

    if (old && (!is_directory(old->inode) || old->inode->count))
        return;                         /* the root file system has brought its own */
    proc = old ? old->inode : new_directory(root_inode, "proc", NULL, NULL);
    struct inode *sys = proc ? new_directory(proc, "sys", NULL, NULL) : NULL;
    struct inode *kernel = sys ? new_directory(sys, "kernel", NULL, NULL) : NULL;
    struct inode *net = kernel ? new_directory(proc, "net", NULL, NULL) : NULL;
    if (!net)
        return;
    proc->mode = S_IFDIR | 0555;
    proc->in_proc = true;
    for (u64 i = 0; i < COUNT(of_all); i++)
        add_text(i < FIRST_OF_KERNEL ? proc : i < FIRST_OF_NET ? kernel : net, &of_all[i], NULL, i);
    proc->refresh = refresh_proc;
    sys->refresh = kernel->refresh = net->refresh = refresh_nothing;
}
