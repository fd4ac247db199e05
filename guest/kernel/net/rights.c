/* SCM_RIGHTS: the sender's files travel with a message; the receiver gets numbers for them when it reads it. */
#include "rights.h"

#include "fs/file.h"
#include "kernel.h"
#include "mm/slab.h"

#define TRAVELLING_MAX 4096U    /* files that are on their way at once, whoever sent them */

static u32 travelling;

i64 rights_gather(struct rights **rights, const i32 *fds, u64 count) {
    struct rights *old = *rights;
    u32 before = old ? old->count : 0;

    if (before + count > RIGHTS_MAX)
        return -EINVAL;
    for (u64 i = 0; i < count; i++)
        if (!file_at(fds[i]))
            return -EBADF;
    if (travelling + count > TRAVELLING_MAX)
        return -ETOOMANYREFS;
    struct rights *r = kmalloc(sizeof *r + (before + count) * sizeof *r->file);
    if (!r)
        return -ENOMEM;
    if (old)
        memcpy(r, old, sizeof *r + before * sizeof *r->file);
    kfree(old);
    for (u64 i = 0; i < count; i++) {
        r->file[r->count] = file_at(fds[i]);
        r->file[r->count++]->refs++;
    }
    travelling += count;
    *rights = r;
    return 0;
}

u64 rights_install(struct rights *r, i32 *fds, u64 room, bool close_on_exec) {
    u64 count = 0;

    for (u32 i = 0; i < r->count && count < room; i++) {
        struct file *f = r->file[i];
        r->file[i] = NULL;              /* its reference is the table's now */
        i32 fd = fd_install(f, 0, close_on_exec);
        if (fd >= 0)
            fds[count++] = fd;
    }
    rights_drop(r);
    return count;
}

void rights_drop(struct rights *r) {
    if (!r)
        return;
    travelling -= r->count;
    for (u32 i = 0; i < r->count; i++)
        if (r->file[i])
            file_put(r->file[i]);
    kfree(r);
}

struct rights *rights_next(struct rights **list) {
    struct rights *r = *list;

    *list = r->next;
    return r;
}
