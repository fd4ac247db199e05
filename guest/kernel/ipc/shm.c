/* System V's shared memory: a file without a name, mapped by whoever knows its number. */
#include "fs/inode.h"
#include "kernel.h"
#include "mm/page.h"
#include "mm/slab.h"
#include "mm/vm.h"
#include "syscall/syscalls.h"
#include "sysv.h"
#include "task/process.h"

#define SHM_LOCK 11
#define SHM_UNLOCK 12
#define SHM_DEST 01000u         /* in the mode: it is removed, and goes with its last mapping */
#define SHM_RDONLY 010000u
#define SHM_RND 020000u
#define SHM_REMAP 040000u
#define SHM_EXEC 0100000u

struct segment {
    struct ipc ipc;
    struct inode *inode;        /* a reference of ours, until it is removed */
    u64 size;
    i64 attached, detached, changed;    /* when */
    i32 maker, last;            /* pids */
};

struct shmid_ds {
    struct ipc_perm perm;
    u64 size;
    i64 attached, detached, changed;
    i32 maker, last;
    u64 count, unused[2];
};

static struct ipc_set segments = {.most = 4096};

static struct segment *segment_at(i32 id) { return (struct segment *)ipc_at(&segments, id); }

void shm_forget(struct segment *s) {
    ipc_remove(&segments, &s->ipc);
    kfree(s);
}

i64 sys_shmget(i32 key, u64 size, u32 flags) {
    struct ipc *found;
    i64 error = ipc_open(&segments, key, flags, &found);

    if (error || found)
        return error ? error : size > ((struct segment *)found)->size ? -EINVAL : found->id;
    if (!size)
        return -EINVAL;
    if (ROUND_UP(size, PAGE_SIZE) < size || size >> PAGE_SHIFT > pages_total())
        return -ENOSPC;
    struct segment *s = kmalloc(sizeof *s);
    if (!s || !(s->inode = inode_new(S_IFREG | 0600))) {
        kfree(s);
        return -ENOMEM;
    }
    s->inode->segment = s;
    s->size = size;
    s->inode->size = ROUND_UP(size, PAGE_SIZE);
    s->changed = ipc_seconds();
    s->maker = current->process->pid;
    return ipc_add(&segments, &s->ipc, key, flags);
}

/* Where it goes, or -errno. */
static i64 place(u64 at, u64 size, u32 flags) {
    struct mm *mm = current->process->mm;

    if (!at)
        return flags & SHM_REMAP ? -EINVAL : (at = vma_gap(mm, size)) ? (i64)at : -ENOMEM;
    if (at & PAGE_MASK && !(flags & SHM_RND))
        return -EINVAL;
    at = ROUND_DOWN(at, PAGE_SIZE);
    if (at + size < at || at + size > USER_TOP || !at)
        return -EINVAL;
    if (flags & SHM_REMAP) {
        i64 error = vma_remove(mm, at, at + size);
        return error ? error : (i64)at;
    }
    return vma_is_free(mm, at, at + size) ? (i64)at : -EINVAL;
}

static i64 attach(struct segment *s, u64 at, u32 flags) {
    struct mm *mm = current->process->mm;
    bool fixed = flags & SHM_RDONLY;
    u64 size = s->inode->size;

    if (mm_size(mm, 0, USER_TOP) + size > current->process->limits[RLIMIT_AS].soft)
        return -ENOMEM;
    i64 where = place(at, size, flags);
    if (where < 0)
        return where;
    i64 error = vma_add(mm, &(struct vma){.start = (u64)where, .end = (u64)where + size, .prot = PROT_READ | (fixed ? 0 : PROT_WRITE),
                                          .shared = true, .sealed = fixed, .inode = s->inode});
    if (error)
        return error;
    s->attached = ipc_seconds();
    s->last = current->process->pid;
    return where;
}

i64 sys_shmat(i32 id, u64 at, u32 flags) {
    struct segment *s = segment_at(id);

    if (!s)
        return -EINVAL;
    i64 error = flags & SHM_EXEC ? -EACCES : ipc_may(&s->ipc, flags & SHM_RDONLY ? 0444 : 0666);    /* memory shared so is never code */
    if (error)
        return error;
    inode_get(s->inode);                /* if it makes room, an older mapping may end, and the segment with it */
    struct inode *inode = s->inode;
    i64 where = attach(s, at, flags);
    inode_put(inode);
    return where;
}

static bool starts_at(const struct vma *v, u64 at) { return v->inode && v->inode->segment && v->start - v->offset == at; }

i64 sys_shmdt(u64 at) {
    struct mm *mm = current->process->mm;
    struct vma *v = at & PAGE_MASK ? NULL : vma_find(mm, at);

    if (!v || !starts_at(v, at))
        return -EINVAL;
    struct inode *inode = v->inode;
    struct segment *s = inode->segment;
    u64 end = at + inode->size;
    s->detached = ipc_seconds();
    s->last = current->process->pid;
    inode_get(inode);
    while ((v = vma_find(mm, at)) && v->start < end) {
        u64 next = v->end;
        i64 error = v->inode == inode && starts_at(v, v->start - v->offset) ? vma_remove(mm, v->start, v->end) : 0;
        if (error) {
            inode_put(inode);
            return error;
        }
        at = next;
    }
    inode_put(inode);
    return 0;
}

static bool is_counted(const struct process *p) {
    for (const struct process *o = processes; o != p; o = o->next)
        if (o->mm == p->mm)
            return true;
    return false;
}

/* As on Linux, the pieces of one that was cut count each. */
static u64 mappings_of(const struct segment *s) {
    u64 count = 0;

    for (const struct process *p = processes; p; p = p->next)
        for (const struct vma *v = p->mm && !is_counted(p) ? p->mm->first : NULL; v; v = v->next)
            count += v->inode == s->inode;
    return count;
}

static i64 stat(const struct segment *s, u64 to) {
    struct shmid_ds d = {.perm = ipc_perm_of(&s->ipc), .size = s->size, .attached = s->attached, .detached = s->detached,
                         .changed = s->changed, .maker = s->maker, .last = s->last, .count = mappings_of(s)};

    return copy_out(to, &d, sizeof d);
}

static i64 change(struct segment *s, u32 command, u64 from) {
    struct shmid_ds d;

    if (command == IPC_SET && copy_in(&d, from, sizeof d))
        return -EFAULT;
    if (!ipc_owns(&s->ipc))
        return -EPERM;
    if (command == IPC_SET) {
        ipc_set_perm(&s->ipc, &d.perm);
        s->changed = ipc_seconds();
    } else if (command == IPC_RMID && !(s->ipc.mode & SHM_DEST)) {
        s->ipc.mode |= SHM_DEST;
        s->ipc.key = IPC_PRIVATE;
        inode_put(s->inode);
    }
    return 0;                           /* locked in memory is all there is */
}

i64 sys_shmctl(i32 id, u32 command, u64 argument) {
    struct segment *s = segment_at(id);

    if (command != IPC_STAT && command != IPC_SET && command != IPC_RMID && command != SHM_LOCK && command != SHM_UNLOCK)
        return -EINVAL;
    if (!s)
        return -EINVAL;
    if (command != IPC_STAT)
        return change(s, command, argument);
    i64 error = ipc_may(&s->ipc, 0444);
    return error ? error : stat(s, argument);
}
