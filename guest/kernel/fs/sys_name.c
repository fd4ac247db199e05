/* link, symlink, mkdir, mknod, unlink, rmdir, rename. */
#include "file.h"
#include "inotify.h"
#include "kernel.h"
#include "mm/slab.h"
#include "mm/vm.h"
#include "syscall/syscalls.h"
#include "task/ids.h"
#include "task/process.h"
#include "time/time.h"

/* Where a name is, or is to be. */
struct place { struct path path; struct inode *directory; char last[NAME_MAX + 1]; bool slash; };

static int place_begin(struct place *p, i32 dirfd, u64 user) {
    int error = path_begin(&p->path, dirfd, user);

    if (error)
        return error;
    error = name_parent(p->path.start, p->path.name, &p->directory, p->last);
    if (error) {
        path_end(&p->path);
        return error;
    }
    u64 n = strlen(p->path.name);
    p->slash = p->path.name[n - 1] == '/';
    if (p->slash && !p->last[0])                /* "a/b/": name_parent() has stopped before b already, or it is the root */
        p->slash = false;
    return 0;
}

static void place_end(struct place *p) {
    inode_put(p->directory);
    path_end(&p->path);
}

static bool is_dots(const char *name) { return strcmp(name, ".") == 0 || strcmp(name, "..") == 0; }
static struct dirent *entry_at(const struct place *p) {
    return directory_find(p->directory, p->last, strlen(p->last));
}

/* May the name be made? */
static int check_new(const struct place *p, bool directory) {
    if (!p->last[0] || is_dots(p->last) || entry_at(p))
        return -EEXIST;
    if (p->directory->refresh || !p->directory->links || (p->slash && !directory))
        return -ENOENT;                 /* in /proc, nothing can be made */
    return inode_may(p->directory, MAY_CHANGE);
}

static int add_new(const struct place *p, struct inode *i) { return directory_add(p->directory, p->last, strlen(p->last), i); }

/* … and tell those who watch. */
static int make_new(const struct place *p, struct inode *i) {
    int error = add_new(p, i);

    if (!error)
        inotify_name(p->directory, p->last, i, IN_CREATE, 0);
    return error;
}

i64 sys_mkdirat(i32 dirfd, u64 path, u32 mode) {
    struct place p;
    int error = place_begin(&p, dirfd, path);

    if (error)
        return error;
    if (!(error = check_new(&p, true))) {
        struct inode *i = inode_new(S_IFDIR | (mode & 01777 & ~current->process->umask));
        error = i ? make_new(&p, i) : -ENOSPC;
        if (i)
            inode_put(i);
    }
    place_end(&p);
    return error;
}

static int may_make(u32 mode) {
    switch (mode & S_IFMT) {
    case 0: case S_IFREG: case S_IFIFO: case S_IFSOCK:
        return 0;
    case S_IFCHR: case S_IFBLK: case S_IFDIR:
        return -EPERM;
    default:
        return -EINVAL;
    }
}

/* Plain files, FIFOs and names of sockets; the devices there are stand in /dev. */
i64 sys_mknodat(i32 dirfd, u64 path, u32 mode, u32 device) {
    struct place p;
    int error = may_make(mode);

    (void)device;
    if (!error)
        error = place_begin(&p, dirfd, path);
    if (error)
        return error;
    if (!(error = check_new(&p, false))) {
        struct inode *i = inode_new((mode & S_IFMT ? mode & S_IFMT : S_IFREG) | (mode & 07777 & ~current->process->umask));
        error = i ? make_new(&p, i) : -ENOSPC;
        if (i)
            inode_put(i);
    }
    place_end(&p);
    return error;
}

i64 sys_mknod(u64 path, u32 mode, u32 device) { return sys_mknodat(AT_FDCWD, path, mode, device); }

static int link_new(struct place *p, const char *target) {
    struct inode *i = inode_new(S_IFLNK | 0777);
    int error = -ENOSPC;

    if (i && (i->target = kmalloc(strlen(target) + 1))) {
        i->size = strlen(target);
        memcpy(i->target, target, i->size);
        error = make_new(p, i);
    }
    if (i)
        inode_put(i);
    return error;
}

i64 sys_symlinkat(u64 target, i32 dirfd, u64 path) {
    struct place p;
    char *text = kmalloc(PATH_MAX);
    i64 n = text ? copy_in_string(text, target, PATH_MAX) : -ENOMEM;
    int error = n < 0 ? (int)n : n == 0 ? -ENOENT : place_begin(&p, dirfd, path);

    if (!error) {
        if (!(error = check_new(&p, false)))
            error = link_new(&p, text);
        place_end(&p);
    }
    kfree(text);
    return error;
}

i64 sys_linkat(i32 olddir, u64 old, i32 newdir, u64 new, u32 flags) {
    struct place p;
    struct inode *i;
    u32 follow = flags & AT_SYMLINK_FOLLOW ? 0 : AT_SYMLINK_NOFOLLOW;
    int error = path_find(olddir, old, follow | (flags & AT_EMPTY_PATH), &i);

    if (error)
        return error;
    if (!(error = place_begin(&p, newdir, new))) {
        if (!(error = check_new(&p, false)))
            error = is_directory(i) ? -EPERM : add_new(&p, i);
        if (!error) {
            i->ctime = calendar_ns();
            inotify_tell_self(i, IN_ATTRIB);
            inotify_name(p.directory, p.last, i, IN_CREATE, 0);
        }
        place_end(&p);
    }
    inode_put(i);
    return error;
}

static int remove(const struct place *p, bool directory) {
    struct dirent *d = entry_at(p);

    if (!p->last[0] || strcmp(p->last, ".") == 0)
        return directory ? (p->last[0] ? -EINVAL : -EBUSY) : -EISDIR;
    if (strcmp(p->last, "..") == 0)
        return directory ? -ENOTEMPTY : -EISDIR;
    if (!d)
        return -ENOENT;
    int error = p->directory->refresh ? -EPERM : may_remove(p->directory, d->inode);
    if (error)
        return error;
    if (is_directory(d->inode) != directory)
        return directory ? -ENOTDIR : -EISDIR;
    if (p->slash && !directory)
        return -ENOTDIR;
    if (directory && d->inode->count)
        return -ENOTEMPTY;
    struct inode *i = d->inode;
    inode_get(i);
    directory_remove(d);
    if (!directory)
        inotify_tell_self(i, IN_ATTRIB);        /* it has a name less */
    inotify_name(p->directory, p->last, i, IN_DELETE, 0);
    inode_put(i);
    return 0;
}

i64 sys_unlinkat(i32 dirfd, u64 path, u32 flags) {
    struct place p;
    int error = flags & ~(u32)AT_REMOVEDIR ? -EINVAL : place_begin(&p, dirfd, path);

    if (error)
        return error;
    error = remove(&p, flags & AT_REMOVEDIR);
    place_end(&p);
    return error;
}

/* May `from` take the place of `to` (NULL: there is nothing)? */
static int check_rename(const struct dirent *from, const struct dirent *to, const struct place *new, bool exchange) {
    bool directory = is_directory(from->inode);
    int error;

    if (from->directory->in_proc != new->directory->in_proc)
        return -EXDEV;
    if (from->directory->refresh)
        return -EPERM;
    if ((error = may_remove(from->directory, from->inode)) || (error = inode_may(new->directory, MAY_CHANGE)) ||
        (to && (error = may_remove(new->directory, to->inode))))
        return error;
    if (directory && is_within(new->directory, from->inode))
        return -EINVAL;
    if (new->slash && !directory)
        return -ENOTDIR;
    if (!to || exchange)
        return to && is_directory(to->inode) && is_within(from->directory, to->inode) ? -EINVAL : 0;
    if (is_directory(to->inode) != directory)
        return directory ? -ENOTDIR : -EISDIR;
    return directory && to->inode->count ? -ENOTEMPTY : 0;
}

static void exchange(struct dirent *a, struct dirent *b) {
    struct inode *i = a->inode;
    i32 more = is_directory(b->inode) - is_directory(i);        /* each one's ".." is a name of where it is */

    a->came = b->came = false;
    a->inode = b->inode;
    b->inode = i;
    a->directory->links += (u32)more;
    b->directory->links -= (u32)more;
    if (is_directory(a->inode))
        inode_set_parent(a->inode, a->directory);
    if (is_directory(i))
        inode_set_parent(i, b->directory);
    a->inode->ctime = i->ctime = a->directory->mtime = b->directory->mtime = calendar_ns();
}

/* `gone`: had the new name before, or NULL. */
static void tell_move(const struct place *old, const struct place *new, const struct inode *i, const struct inode *gone) {
    u32 cookie = inotify_cookie();

    inotify_name(old->directory, old->last, i, IN_MOVED_FROM, cookie);
    inotify_name(new->directory, new->last, i, IN_MOVED_TO, cookie);
    if (gone)
        inotify_tell_self(gone, IN_ATTRIB);
    inotify_tell_self(i, IN_MOVE_SELF);
}

static int rename(struct place *old, struct place *new, u32 flags) {
    struct dirent *from = entry_at(old), *to = entry_at(new);

    if (!old->last[0] || !new->last[0] || is_dots(old->last) || is_dots(new->last))
        return -EBUSY;
    if (!from)
        return -ENOENT;
    if (to && flags & RENAME_NOREPLACE)
        return -EEXIST;
    if (!to && flags & RENAME_EXCHANGE)
        return -ENOENT;
    if (to && to->inode == from->inode)
        return 0;                               /* two names of one file: both stay */
    int error = check_rename(from, to, new, flags & RENAME_EXCHANGE);
    struct inode *i = from->inode, *gone = NULL;
    if (error)
        return error;
    if (flags & RENAME_EXCHANGE) {
        exchange(from, to);
        return 0;
    }
    if (!to && (error = add_new(new, i)))
        return error;
    if (to) {                                   /* the name and its place in the directory stay */
        gone = to->inode;
        inode_get(gone);
        directory_leaves(to);
        to->inode = i;
        to->came = false;
        i->links++;
        if (is_directory(i)) {
            gone->links--;
            i->links++;
        }
        inode_unnamed(gone);
    }
    inode_get(i);
    directory_remove(from);
    if (is_directory(i))
        inode_set_parent(i, new->directory);
    tell_move(old, new, i, gone);
    if (gone)
        inode_put(gone);
    inode_put(i);
    return 0;
}

i64 sys_renameat2(i32 olddir, u64 old, i32 newdir, u64 new, u32 flags) {
    struct place from, to;
    bool valid = !flags || flags == RENAME_NOREPLACE || flags == RENAME_EXCHANGE;
    int error = !valid ? -EINVAL : place_begin(&from, olddir, old);

    if (error)
        return error;
    if (!(error = place_begin(&to, newdir, new))) {
        error = rename(&from, &to, flags);
        place_end(&to);
    }
    place_end(&from);
    return error;
}

i64 sys_mkdir(u64 path, u32 mode) { return sys_mkdirat(AT_FDCWD, path, mode); }
i64 sys_rmdir(u64 path) { return sys_unlinkat(AT_FDCWD, path, AT_REMOVEDIR); }
i64 sys_unlink(u64 path) { return sys_unlinkat(AT_FDCWD, path, 0); }
i64 sys_symlink(u64 target, u64 path) { return sys_symlinkat(target, AT_FDCWD, path); }
i64 sys_link(u64 old, u64 new) { return sys_linkat(AT_FDCWD, old, AT_FDCWD, new, 0); }
i64 sys_rename(u64 old, u64 new) { return sys_renameat2(AT_FDCWD, old, AT_FDCWD, new, 0); }
i64 sys_renameat(i32 olddir, u64 old, i32 newdir, u64 new) { return sys_renameat2(olddir, old, newdir, new, 0); }
