/* Paths that come from the program. */
#include "file.h"
#include "kernel.h"
#include "mm/slab.h"
#include "mm/vm.h"
#include "syscall/syscalls.h"
#include "task/process.h"

static int start_of(i32 dirfd, const char *name, struct inode **start) {
    struct file *f;

    *start = current->process->directory;
    if (dirfd == AT_FDCWD || name[0] == '/')
        return 0;
    if (!(f = file_at(dirfd)))
        return -EBADF;
    *start = f->inode;
    return 0;
}

int path_begin(struct path *p, i32 dirfd, u64 user) {
    i64 n = user_string_length(user, PATH_MAX);

    if (n < 0)
        return (int)n;
    if (!(p->name = kmalloc((u64)n + 1)))
        return -ENOMEM;
    n = copy_in_string(p->name, user, (u64)n + 1);
    int error = n < 0 ? (int)n : start_of(dirfd, p->name, &p->start);
    if (error)
        kfree(p->name);
    return error;
}

void path_end(struct path *p) { kfree(p->name); }

int path_find(i32 dirfd, u64 user, u32 at_flags, struct inode **found) {
    struct path p;
    int error = path_begin(&p, dirfd, user);

    if (error)
        return error;
    if (!p.name[0] && at_flags & AT_EMPTY_PATH) {
        *found = p.start;
        inode_get(p.start);
    } else {
        error = name_lookup(p.start, p.name, !(at_flags & AT_SYMLINK_NOFOLLOW), found);
    }
    path_end(&p);
    return error;
}
