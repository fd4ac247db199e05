/* System V's objects: known by a number, found by a key, and there until they are removed. */
#include "sysv.h"

#include "kernel.h"
#include "task/ids.h"
#include "task/process.h"
#include "time/time.h"

struct ipc *ipc_at(const struct ipc_set *set, i32 id) {
    struct ipc *p = set->first;

    while (p && p->id != id)
        p = p->next;
    return p;
}

i64 ipc_seconds(void) { return (i64)(calendar_ns() / NS_PER_S); }

i64 ipc_may(const struct ipc *p, u32 rights) {
    u32 own = own_uid(), wanted = (rights >> 6 | rights >> 3 | rights) & 7;
    u32 granted = own == p->uid || own == p->made_uid ? p->mode >> 6 : in_group(p->gid) || in_group(p->made_gid) ? p->mode >> 3 : p->mode;

    return wanted & ~granted && !is_root() ? -EACCES : 0;
}

bool ipc_owns(const struct ipc *p) { return is_root() || own_uid() == p->uid || own_uid() == p->made_uid; }

i64 ipc_open(const struct ipc_set *set, i32 key, u32 flags, struct ipc **found) {
    struct ipc *p = key == IPC_PRIVATE ? NULL : set->first;

    while (p && p->key != key)
        p = p->next;
    *found = p;
    if (p)
        return (flags & (IPC_CREAT | IPC_EXCL)) == (IPC_CREAT | IPC_EXCL) ? -EEXIST : ipc_may(p, flags);
    if (key != IPC_PRIVATE && !(flags & IPC_CREAT))
        return -ENOENT;
    return set->count >= set->most ? -ENOSPC : 0;
}

i64 ipc_add(struct ipc_set *set, struct ipc *p, i32 key, u32 flags) {
    p->key = key;
    p->uid = p->made_uid = own_uid();
    p->gid = p->made_gid = own_gid();
    p->mode = flags & 0777;
    do
        p->id = set->last_id = (set->last_id + 1) & 0x7fffffff;
    while (ipc_at(set, p->id));
    p->next = set->first;
    set->first = p;
    set->count++;
    return p->id;
}

void ipc_remove(struct ipc_set *set, struct ipc *p) {
    struct ipc **at = &set->first;

    while (*at != p)
        at = &(*at)->next;
    *at = p->next;
    set->count--;
}

struct ipc_perm ipc_perm_of(const struct ipc *p) {
    return (struct ipc_perm){.key = p->key, .uid = p->uid, .gid = p->gid, .made_uid = p->made_uid, .made_gid = p->made_gid, .mode = p->mode};
}

void ipc_set_perm(struct ipc *p, const struct ipc_perm *from) {
    p->uid = from->uid;
    p->gid = from->gid;
    p->mode = (p->mode & ~0777u) | (from->mode & 0777);
}
