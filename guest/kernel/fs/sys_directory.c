/* getdents, and a process's current and root directories. */
#include "file.h"
#include "inotify.h"
#include "kernel.h"
#include "mm/slab.h"
#include "mm/vm.h"
#include "syscall/syscalls.h"
#include "task/ids.h"
#include "task/process.h"

/* One entry of getdents64:  ino 8 │ cookie 8 │ length 2 │ type 1 │ name … 0, padded to 8. */
struct linux_dirent { u64 number, cookie; u16 length; u8 type; char name[NAME_MAX + 1 + 8]; } __attribute__((packed));

static i64 put_entry(u64 to, u64 room, const struct inode *i, u64 cookie, const char *name) {
    struct linux_dirent e = {.number = i->number, .cookie = cookie, .type = (u8)((i->mode & S_IFMT) >> DT_SHIFT)};
    u64 size = ROUND_UP(offsetof(struct linux_dirent, name) + strlen(name) + 1, 8);

    if (size > room)
        return 0;
    e.length = (u16)size;
    memcpy(e.name, name, strlen(name));
    return copy_out(to, &e, size) ? -EFAULT : (i64)size;
}

/* Positions: 0 = ".", 1 = "..", then each name's cookie plus one.  Bytes written; what did not fit is left for the next call. */
static i64 put_dots(struct file *f, u64 to, u64 size) {
    u64 done = 0;

    while (f->position < 2) {
        bool self = f->position == 0;
        i64 n = put_entry(to + done, size - done, self ? f->inode : f->inode->parent, f->position + 1, self ? "." : "..");
        if (n <= 0)
            return n ? n : (i64)done;
        f->position++;
        done += (u64)n;
    }
    return (i64)done;
}

i64 sys_getdents64(i32 fd, u64 to, u64 size) {
    struct file *f = file_at(fd);
    const struct dirent *d;

    if (!f || !readable(f))
        return -EBADF;
    if (!is_directory(f->inode))
        return -ENOTDIR;
    if (f->inode->refresh)
        f->inode->refresh(f->inode, NULL, 0);
    inotify_tell(f->inode, IN_ACCESS);
    i64 done = put_dots(f, to, size);
    if (done < 0 || f->position < 2)
        return done ? done : -EINVAL;           /* not even one fits */
    for (d = f->inode->first; d && d->cookie + 1 < f->position; d = d->next)
        ;
    for (; d; d = d->next) {
        i64 n = put_entry(to + (u64)done, size - (u64)done, d->inode, d->cookie + 2, d->name);
        if (n <= 0)
            return done ? done : n ? n : -EINVAL;
        f->position = d->cookie + 2;
        done += n;
    }
    return done;
}

/* `*place` is to be `i`, whose reference it takes over. */
static i64 go_to(struct inode **place, struct inode *i) {
    int error = is_directory(i) ? inode_may(i, MAY_EXEC) : -ENOTDIR;

    inode_put(error ? i : *place);
    if (!error)
        *place = i;
    return error;
}

static i64 go_to_path(struct inode **place, u64 path) {
    struct inode *i;
    int error = path_find(AT_FDCWD, path, 0, &i);

    return error ? error : go_to(place, i);
}

i64 sys_chdir(u64 path) { return go_to_path(&current->process->directory, path); }
i64 sys_chroot(u64 path) { return is_root() ? go_to_path(&current->process->root, path) : -EPERM; }

i64 sys_fchdir(i32 fd) {
    struct file *f = file_at(fd);

    if (!f)
        return -EBADF;
    inode_get(f->inode);
    return go_to(&current->process->directory, f->inode);
}

i64 sys_getcwd(u64 to, u64 size) {
    char *name = kmalloc(PATH_MAX);
    i64 n = name ? name_of(current->process->directory, name, MIN(size, PATH_MAX)) : -ENOMEM;

    if (n > 0 && copy_out(to, name, (u64)n))
        n = -EFAULT;
    kfree(name);
    return n;
}
