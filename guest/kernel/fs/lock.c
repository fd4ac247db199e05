/* Locks on files: ranges that belong to a table of descriptors, most often one process's (fcntl),
 * and whole files that belong to an open file (flock). */
#include "lock.h"

#include "inode.h"
#include "kernel.h"
#include "mm/slab.h"
#include "mm/vm.h"
#include "syscall/syscalls.h"
#include "task/process.h"

#define F_RDLCK 0
#define F_WRLCK 1
#define F_UNLCK 2
#define LOCK_SH 1
#define LOCK_EX 2
#define LOCK_NB 4
#define LOCK_UN 8
#define TO_THE_END (~0UL >> 1)

struct lock {
    struct lock *next;
    const struct inode *inode;
    const void *owner;          /* a table of files, or an open file */
    i32 pid;                    /* who set it */
    bool exclusive, whole;      /* whole: by flock, which does not see the others */
    u64 first, last;            /* bytes */
};

static struct lock *locks;      /* by their first bytes: F_GETLK reports the lowest conflict */

static bool overlap(const struct lock *a, const struct lock *b) {
    return a->inode == b->inode && a->whole == b->whole && a->first <= b->last && b->first <= a->last;
}

static const struct lock *conflict(const struct lock *wanted) {
    for (const struct lock *l = locks; l; l = l->next)
        if (overlap(l, wanted) && l->owner != wanted->owner && (l->exclusive || wanted->exclusive))
            return l;
    return NULL;
}

static int add(const struct lock *like) {
    struct lock *l = kmalloc(sizeof *l), **at = &locks;

    if (!l)
        return -ENOLCK;
    while (*at && (*at)->first <= like->first)
        at = &(*at)->next;
    *l = *like;
    l->next = *at;
    *at = l;
    return 0;
}

/* Take the owner's locks out of a range; what lies beside it stays. */
static int clear(const struct lock *range) {
    int error = 0;

    for (struct lock **at = &locks, *l; (l = *at);) {
        if (l->owner != range->owner || !overlap(l, range)) {
            at = &l->next;
            continue;
        }
        struct lock before = *l, behind = *l;
        *at = l->next;
        kfree(l);
        before.last = range->first - 1;
        behind.first = range->last + 1;
        if (before.first < range->first)
            error |= add(&before);
        if (behind.last > range->last)
            error |= add(&behind);
        at = &locks;                    /* the list has changed */
    }
    wakeup(&locks);
    return error;
}

static i64 set(struct file *f, const struct lock *wanted, bool unlock, bool wait) {
    i64 error = 0;

    f->refs++;                          /* another thread may close it while this one sleeps */
    while (!error && !unlock && conflict(wanted))
        error = !wait ? -EAGAIN : sleep_on(&locks, FOREVER) ? -ERESTART : 0;
    if (!error) {
        clear(wanted);
        error = unlock ? 0 : add(wanted);
    }
    file_put(f);
    return error;
}

void locks_drop(struct inode *i, const struct files *owner) {
    struct lock all = {.inode = i, .owner = owner, .last = ~0UL};

    if (locks)
        clear(&all);
}

void flock_drop(struct file *f) {
    struct lock all = {.inode = f->inode, .owner = f, .whole = true, .last = ~0UL};

    if (locks)
        clear(&all);
}

struct flock { i16 type, whence; i32 pad; i64 start, length; i32 pid; };

static i64 range_of(const struct flock *fl, const struct file *f, struct lock *l) {
    i64 start = fl->start + (fl->whence == 1 ? (i64)f->position : fl->whence == 2 ? (i64)f->inode->size : 0);
    i64 last = fl->length > 0 ? start + fl->length - 1 : fl->length < 0 ? start - 1 : (i64)TO_THE_END;

    if (fl->length < 0)
        start += fl->length;
    if (fl->whence > 2 || start < 0 || last < start)
        return -EINVAL;
    *l = (struct lock){.inode = f->inode, .owner = current->process->files, .pid = current->process->pid,
                       .exclusive = fl->type == F_WRLCK, .first = (u64)start, .last = (u64)last};
    return 0;
}

i64 file_lock(struct file *f, u32 command, u64 argument) {
    struct flock fl;
    struct lock l;

    if (copy_in(&fl, argument, sizeof fl))
        return -EFAULT;
    if ((u16)fl.type > F_UNLCK || range_of(&fl, f, &l))
        return -EINVAL;
    if (command != F_GETLK) {
        if ((fl.type == F_RDLCK && !readable(f)) || (fl.type == F_WRLCK && !writable(f)))
            return -EBADF;
        return set(f, &l, fl.type == F_UNLCK, command == F_SETLKW);
    }
    const struct lock *other = conflict(&l);
    fl.type = !other ? F_UNLCK : other->exclusive ? F_WRLCK : F_RDLCK;
    if (other) {
        fl.whence = 0;
        fl.start = (i64)other->first;
        fl.length = other->last == TO_THE_END ? 0 : (i64)(other->last - other->first + 1);
        fl.pid = other->pid;
    }
    return copy_out(argument, &fl, sizeof fl);
}

i64 sys_flock(i32 fd, u32 how) {
    struct file *f = file_at(fd);
    u32 kind = how & ~(u32)LOCK_NB;

    if (!f)
        return -EBADF;
    if (kind != LOCK_SH && kind != LOCK_EX && kind != LOCK_UN)
        return -EINVAL;
    struct lock l = {.inode = f->inode, .owner = f, .exclusive = kind == LOCK_EX, .whole = true, .last = TO_THE_END};
    return set(f, &l, kind == LOCK_UN, !(how & LOCK_NB));
}
