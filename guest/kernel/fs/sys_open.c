/* Opening, closing and numbering files. */
#include "file.h"
#include "inotify.h"
#include "ipc/pipe.h"
#include "kernel.h"
#include "mm/slab.h"
#include "mm/vm.h"
#include "syscall/syscalls.h"
#include "task/ids.h"
#include "task/process.h"

#define O_TMPFILE_BIT 020000000
#define MODES 07777
#define MAX_NESTED 8            /* links to nothing that O_CREAT follows: each takes some of the kernel stack */

/* Make the file that `last` names in `directory`. */
static int create(struct inode *directory, const char *last, u32 mode, struct inode **made) {
    int error = directory->refresh || !directory->links ? -ENOENT       /* /proc, or a directory that is gone */
                                                        : inode_may(directory, MAY_CHANGE);

    if (error)
        return error;
    struct inode *i = inode_new(S_IFREG | (mode & MODES & ~current->process->umask));
    if (!i)
        return -ENOSPC;
    error = directory_add(directory, last, strlen(last), i);
    if (error)
        inode_put(i);
    else
        *made = i;
    if (!error)
        inotify_name(directory, last, i, IN_CREATE, 0);
    return error;
}

/* Make what a name stands for that was not found: the file itself, or, where
 * the last component is a link to nothing, what the link names. */
static int create_named(struct inode *start, const char *name, u32 flags, u32 mode, u32 links, struct inode **made) {
    char last[NAME_MAX + 1];
    struct inode *directory;
    int error = name_parent(start, name, &directory, last);

    if (error)
        return error;
    struct dirent *d = last[0] ? directory_find(directory, last, strlen(last)) : NULL;
    if (!last[0] || name[strlen(name) - 1] == '/')
        error = -EISDIR;
    else if (d && is_link(d->inode))
        error = links && !(flags & O_NOFOLLOW) ? create_named(directory, d->inode->target, flags, mode, links - 1, made)
                                               : -ELOOP;
    else
        error = create(directory, last, mode, made);
    inode_put(directory);
    return error;
}

static int find_or_create(struct path *p, u32 flags, u32 mode, struct inode **found, bool *made) {
    int error = name_lookup(p->start, p->name, !(flags & (O_NOFOLLOW | O_EXCL)), found);

    if (!error && flags & O_EXCL) {
        inode_put(*found);
        return -EEXIST;
    }
    if (error != -ENOENT)
        return error;
    *made = true;
    return create_named(p->start, p->name, flags, mode, MAX_NESTED, found);
}

static int check_kind(struct inode *i, u32 flags, bool made) {
    static const u32 wants[] = {MAY_READ, MAY_WRITE, MAY_READ | MAY_WRITE, MAY_READ | MAY_WRITE};
    u32 access = flags & O_ACCMODE;

    if (flags & O_DIRECTORY && !is_directory(i))
        return -ENOTDIR;
    if (flags & O_PATH)
        return 0;
    if (is_link(i))
        return -ELOOP;
    if (is_directory(i) && (access != O_RDONLY || (flags & O_CREAT)))
        return -EISDIR;
    int error = made ? 0 : inode_may(i, wants[access] | (flags & O_TRUNC ? MAY_WRITE : 0));
    if (error)
        return error;
    if (flags & O_TRUNC && is_regular(i) && !made && access != O_RDONLY)
        return inode_truncate(i, 0);
    return 0;
}

static i64 open_path(struct path *p, u32 flags, u32 mode) {
    struct inode *i;
    bool made = false;
    int error = flags & O_CREAT && !(flags & O_PATH) ? find_or_create(p, flags, mode, &i, &made)
                                                     : name_lookup(p->start, p->name, !(flags & O_NOFOLLOW), &i);

    if (error)
        return error;
    error = check_kind(i, flags, made);
    struct file *f = error ? NULL : file_open(i, (flags & ~(u32)(O_CREAT | O_EXCL | O_TRUNC | O_CLOEXEC)) | O_LARGEFILE);
    inode_put(i);
    if (!f)
        return error ? error : -ENOMEM;
    if (flags & O_PATH)
        f->ops = &path_ops;
    if (f->ops->open && (error = f->ops->open(f))) {
        file_discard(f);
        return error;
    }
    f->flags &= ~(u32)O_NOCTTY;
    if (!(flags & O_PATH))
        inotify_tell(f->inode, IN_OPEN);
    if (flags & O_TRUNC && is_regular(f->inode) && !made && writable(f))
        inotify_tell(f->inode, IN_MODIFY);
    return fd_install(f, 0, flags & O_CLOEXEC);
}

#define MFD_CLOEXEC 1u
#define MFD_KNOWN 0x1bu         /* sealing and NOEXEC/EXEC too: accepted, without effect */
#define MFD_NAME_MAX 249

/* A file that never has a name; what it is called shows in /proc. */
i64 sys_memfd_create(u64 name, u32 flags) {
    static const char before[] = "/memfd:";
    char called[sizeof before + MFD_NAME_MAX + 1];
    i64 n = copy_in_string(called + sizeof before - 1, name, MFD_NAME_MAX + 1);

    if (flags & ~MFD_KNOWN)
        return -EINVAL;
    if (n < 0)
        return n == -ENAMETOOLONG ? -EINVAL : n;
    struct inode *i = inode_new(S_IFREG | 0777);
    struct file *f = i ? file_open(i, O_RDWR | O_LARGEFILE) : NULL;
    if (i)
        inode_put(i);
    if (!f)
        return -ENOMEM;
    memcpy(called, before, sizeof before - 1);
    if ((f->inode->was = kmalloc(strlen(called) + 1)))
        memcpy(f->inode->was, called, strlen(called));
    return fd_install(f, 0, flags & MFD_CLOEXEC);
}

i64 sys_openat(i32 dirfd, u64 path, u32 flags, u32 mode) {
    struct path p;
    int error;

    if (flags & O_TMPFILE_BIT)
        return -EOPNOTSUPP;
    if ((error = path_begin(&p, dirfd, path)))
        return error;
    i64 fd = open_path(&p, flags, mode);
    path_end(&p);
    return fd;
}

i64 sys_open(u64 path, u32 flags, u32 mode) { return sys_openat(AT_FDCWD, path, flags, mode); }
i64 sys_creat(u64 path, u32 mode) { return sys_openat(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode); }
i64 sys_close(i32 fd) { return fd_close(fd); }

static i64 duplicate(i32 old, i32 lowest, bool close_on_exec) {
    struct file *f = file_at(old);

    if (!f)
        return -EBADF;
    f->refs++;
    return fd_install(f, lowest, close_on_exec);
}

static i64 duplicate_to(i32 old, i32 new, bool close_on_exec) {
    if (!file_at(old) || new < 0 || new >= fd_limit())
        return -EBADF;
    struct file *f = file_at(old);
    f->refs++;
    if (file_at(new))
        fd_close(new);
    current->process->files->file[new] = f;
    fd_set_close_on_exec(new, close_on_exec);
    return new;
}

i64 sys_dup(i32 fd) { return duplicate(fd, 0, false); }
i64 sys_dup2(i32 old, i32 new) { return old == new ? (file_at(old) ? new : -EBADF) : duplicate_to(old, new, false); }
i64 sys_dup3(i32 old, i32 new, u32 flags) {
    return old == new || flags & ~(u32)O_CLOEXEC ? -EINVAL : duplicate_to(old, new, flags & O_CLOEXEC);
}

#define CHANGEABLE (O_APPEND | O_NONBLOCK)

i64 sys_fcntl(i32 fd, u32 command, u64 argument) {
    struct file *f = file_at(fd);

    if (!f)
        return -EBADF;
    switch (command) {
    case F_DUPFD: case F_DUPFD_CLOEXEC:
        return argument >= (u64)fd_limit() ? -EINVAL : duplicate(fd, (i32)argument, command == F_DUPFD_CLOEXEC);
    case F_GETFD:
        return fd_closes_on_exec(fd) ? FD_CLOEXEC : 0;
    case F_SETFD:
        fd_set_close_on_exec(fd, argument & FD_CLOEXEC);
        return 0;
    case F_GETFL:
        return f->flags;
    case F_SETFL:
        f->flags = (f->flags & ~(u32)CHANGEABLE) | ((u32)argument & CHANGEABLE);
        return 0;
    case F_GETLK: case F_SETLK: case F_SETLKW:
        return file_lock(f, command, argument);
    case F_GETPIPE_SZ: case F_SETPIPE_SZ:
        if (f->ops != &fifo_ops)
            return -EBADF;
        return command == F_GETPIPE_SZ ? (i64)f->inode->pipe->size : pipe_resize(f->inode->pipe, argument);
    default:
        return -EINVAL;
    }
}

i64 sys_ioctl(i32 fd, u32 request, u64 argument) {
    struct file *f = file_at(fd);
    i32 word;

    if (!f || f->flags & O_PATH)
        return -EBADF;
    if (request == FIONBIO) {
        if (copy_in(&word, argument, sizeof word))
            return -EFAULT;
        f->flags = word ? f->flags | O_NONBLOCK : f->flags & ~(u32)O_NONBLOCK;
        return 0;
    }
    if (request == FIONREAD && is_regular(f->inode)) {
        word = (i32)(f->inode->size - f->position);
        return copy_out(argument, &word, sizeof word);
    }
    return f->ops->ioctl ? f->ops->ioctl(f, request, argument) : -ENOTTY;
}

#define CLOSE_RANGE_CLOEXEC 4

i64 sys_close_range(u32 first, u32 last, u32 flags) {
    if (first > last || flags & ~(u32)CLOSE_RANGE_CLOEXEC)
        return -EINVAL;
    for (u32 fd = first; fd <= last && fd < MAX_FILES; fd++) {
        if (!file_at((i32)fd))
            continue;
        if (flags & CLOSE_RANGE_CLOEXEC)
            fd_set_close_on_exec((i32)fd, true);
        else
            fd_close((i32)fd);
    }
    return 0;
}
