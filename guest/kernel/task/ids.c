/* Users and groups: who a process is, and what that lets it do.  A process is one user with all its threads;
 * root is user 0. */
#include "ids.h"

#include "fs/inode.h"
#include "kernel.h"
#include "mm/vm.h"
#include "proc/proc.h"
#include "process.h"
#include "syscall/syscalls.h"

#define KEEP (~0u)
#define NGROUPS_MAX 65536         /* of Linux */
#define STICKY 01000
#define SET_UID 04000
#define SET_GID 02010           /* without the group's x bit it means something else */

static const struct ids root;

/* Before there is a process, the kernel unpacks files as root. */
static const struct ids *uids(void) { return current ? &current->process->uid : &root; }
static const struct ids *gids(void) { return current ? &current->process->gid : &root; }

u32 own_uid(void) { return uids()->effective; }
u32 own_gid(void) { return gids()->effective; }
bool is_root(void) { return !own_uid(); }

static bool is_member(u32 id, u32 own) {
    const struct groups *g = current ? &current->process->groups : NULL;
    bool found = id == own;

    for (u32 n = 0; g && n < g->count; n++)
        found |= g->id[n] == id;
    return found;
}

bool in_group(u32 id) { return is_member(id, own_gid()); }

/* ---- files ---- */

/* Devices, pipes and sockets are no part of the file system that their names are in. */
static bool is_read_only(const struct inode *i) { return i->read_only && (is_regular(i) || is_directory(i) || is_link(i)); }

static int check(const struct inode *i, u32 want, u32 uid, u32 gid) {
    if (want & MAY_WRITE && is_read_only(i))
        return -EROFS;
    u32 has = i->mode >> (uid == i->uid ? 6 : is_member(i->gid, gid) ? 3 : 0) & 7;

    if (!uid)                   /* root cannot execute a file without any x bit */
        has = MAY_READ | MAY_WRITE | (is_directory(i) || i->mode & 0111 ? MAY_EXEC : 0);
    return want & ~has ? -EACCES : 0;
}

int inode_may(const struct inode *i, u32 want) {
    return proc_is_own_fd(i) ? 0 : check(i, want, uids()->effective, gids()->effective);
}

int inode_may_real(const struct inode *i, u32 want) { return check(i, want, uids()->real, gids()->real); }
bool owns(const struct inode *i) { return is_root() || i->uid == own_uid(); }

int may_change(const struct inode *i) { return is_read_only(i) ? -EROFS : owns(i) ? 0 : -EPERM; }

int may_remove(const struct inode *directory, const struct inode *i) {
    int error = inode_may(directory, MAY_CHANGE);

    return error ? error : i->mounted ? -EBUSY : directory->mode & STICKY && !owns(directory) && !owns(i) ? -EPERM : 0;
}

void ids_of_program(const struct inode *i, struct ids *uid, struct ids *gid) {
    bool may = !current->process->no_new_privileges;

    *uid = *uids();
    *gid = *gids();
    uid->saved = uid->effective = may && i->mode & SET_UID ? i->uid : uid->effective;
    gid->saved = gid->effective = may && (i->mode & SET_GID) == SET_GID ? i->gid : gid->effective;
}

/* ---- processes ---- */

bool may_signal(const struct process *p, u32 signal) {
    const struct ids *me = uids();

    return is_root() || me->effective == p->uid.real || me->effective == p->uid.saved || me->real == p->uid.real ||
           me->real == p->uid.saved || (signal == SIGCONT && p->session == current->process->session);
}

static bool are_all(const struct ids *ids, u32 id) { return ids->real == id && ids->effective == id && ids->saved == id; }

/* Here Linux asks for the real user, and next for the effective one. */
bool may_limit(const struct process *p) {
    return is_root() || p == current->process || (are_all(&p->uid, uids()->real) && are_all(&p->gid, gids()->real));
}

bool may_hurry(const struct process *p) { return is_root() || own_uid() == p->uid.real || own_uid() == p->uid.effective; }

bool may_hurry_io(const struct process *p) { return is_root() || own_uid() == p->uid.real || uids()->real == p->uid.real; }

bool may_look_into(const struct process *p) {
    return is_root() || p == current->process ||
           (p->dumpable && are_all(&p->uid, own_uid()) && are_all(&p->gid, own_gid()));
}

i64 sys_getuid(void) { return uids()->real; }
i64 sys_geteuid(void) { return uids()->effective; }
i64 sys_getgid(void) { return gids()->real; }
i64 sys_getegid(void) { return gids()->effective; }

static i64 give(const struct ids *ids, u64 real, u64 effective, u64 saved) {
    return copy_out(real, &ids->real, 4) || copy_out(effective, &ids->effective, 4) || copy_out(saved, &ids->saved, 4)
               ? -EFAULT : 0;
}

i64 sys_getresuid(u64 real, u64 effective, u64 saved) { return give(uids(), real, effective, saved); }
i64 sys_getresgid(u64 real, u64 effective, u64 saved) { return give(gids(), real, effective, saved); }

/* Those who are not root may only become what they are already, in one way or another. */
static bool may_be(const struct ids *ids, u32 id) {
    return is_root() || id == KEEP || id == ids->real || id == ids->effective || id == ids->saved;
}

static i64 set_three(struct ids *ids, u32 real, u32 effective, u32 saved) {
    if (!may_be(ids, real) || !may_be(ids, effective) || !may_be(ids, saved))
        return -EPERM;
    ids->real = real == KEEP ? ids->real : real;
    if (effective != KEEP && effective != ids->effective)
        current->process->dumpable = false;     /* it may hold what its new user must not see */
    ids->effective = effective == KEEP ? ids->effective : effective;
    ids->saved = saved == KEEP ? ids->saved : saved;
    return 0;
}

i64 sys_setresuid(u32 real, u32 effective, u32 saved) { return set_three(&current->process->uid, real, effective, saved); }
i64 sys_setresgid(u32 real, u32 effective, u32 saved) { return set_three(&current->process->gid, real, effective, saved); }

static i64 set_two(struct ids *ids, u32 real, u32 effective) {
    if (!is_root() && real != KEEP && real != ids->real && real != ids->effective)
        return -EPERM;
    u32 new = effective == KEEP ? ids->effective : effective;
    return set_three(ids, real, effective, real != KEEP || (effective != KEEP && effective != ids->real) ? new : KEEP);
}

i64 sys_setreuid(u32 real, u32 effective) { return set_two(&current->process->uid, real, effective); }
i64 sys_setregid(u32 real, u32 effective) { return set_two(&current->process->gid, real, effective); }

static i64 set_one(struct ids *ids, u32 id) {
    if (id == KEEP)
        return -EINVAL;
    if (is_root())
        return set_three(ids, id, id, id);
    return id == ids->real || id == ids->saved ? set_three(ids, KEEP, id, KEEP) : -EPERM;
}

i64 sys_setuid(u32 id) { return set_one(&current->process->uid, id); }
i64 sys_setgid(u32 id) { return set_one(&current->process->gid, id); }

i64 sys_getgroups(i32 size, u64 to) {
    const struct groups *g = &current->process->groups;

    if (size < 0 || (size && (u32)size < g->count))
        return -EINVAL;
    return size && copy_out(to, g->id, g->count * sizeof *g->id) ? -EFAULT : (i64)g->count;
}

/* In ascending order, as Linux keeps them. */
i64 sys_setgroups(u32 count, u64 from) {
    struct groups new = {.count = count};

    if (!is_root())
        return -EPERM;
    if (count > GROUPS_MAX)
        return count > NGROUPS_MAX ? -EINVAL : -ENOMEM;
    if (copy_in(new.id, from, count * sizeof *new.id))
        return -EFAULT;
    for (u32 n = 0; n < count; n++)
        for (u32 at = n; at && new.id[at - 1] > new.id[at]; at--) {
            u32 larger = new.id[at - 1];
            new.id[at - 1] = new.id[at];
            new.id[at] = larger;
        }
    current->process->groups = new;
    return 0;
}
