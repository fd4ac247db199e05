/* stat and statfs, and the calls that change what stat returns. */
#include "file.h"
#include "inotify.h"
#include "kernel.h"
#include "mm/page.h"
#include "mm/slab.h"
#include "mm/vm.h"
#include "proc/proc.h"
#include "proc/proctext.h"
#include "syscall/syscalls.h"
#include "task/ids.h"
#include "task/process.h"
#include "time/time.h"

#define AT_EACCESS 0x200
#define AT_STATX_SYNC_TYPE 0x6000
#define AT_NO_AUTOMOUNT 0x800
#define S_ISUID 04000
#define S_ISGID 02000
#define S_IXGRP 0010
#define UTIME_NOW 0x3fffffff
#define UTIME_OMIT 0x3ffffffe
#define KEEP_ID (~0u)

static i64 give_stat(const struct inode *i, u64 to) {
    struct stat s;

    inode_fill_stat(i, &s);
    return copy_out(to, &s, sizeof s);
}

i64 sys_newfstatat(i32 dirfd, u64 path, u64 to, u32 flags) {
    bool valid = !(flags & ~(u32)(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH | AT_NO_AUTOMOUNT));
    struct inode *i;
    i64 error = valid ? path_find(dirfd, path, flags, &i) : -EINVAL;

    if (error)
        return error;
    error = give_stat(i, to);
    inode_put(i);
    return error;
}

i64 sys_stat(u64 path, u64 to) { return sys_newfstatat(AT_FDCWD, path, to, 0); }
i64 sys_lstat(u64 path, u64 to) { return sys_newfstatat(AT_FDCWD, path, to, AT_SYMLINK_NOFOLLOW); }
i64 sys_fstat(i32 fd, u64 to) { return file_at(fd) ? give_stat(file_at(fd)->inode, to) : -EBADF; }

static struct statx_time statx_time_of(struct timespec t) { return (struct statx_time){t.sec, (u32)t.nsec, 0}; }

i64 sys_statx(i32 dirfd, u64 path, u32 flags, u32 mask, u64 to) {
    struct inode *i;
    struct stat s;
    bool valid = !(flags & ~(u32)(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH | AT_NO_AUTOMOUNT | AT_STATX_SYNC_TYPE));
    int error = valid ? path_find(dirfd, path, flags, &i) : -EINVAL;

    (void)mask;                         /* all that there is comes for the same price */
    if (error)
        return error;
    inode_fill_stat(i, &s);
    inode_put(i);
    struct statx x = {
        .mask = STATX_BASIC_STATS, .blksize = (u32)s.blksize, .nlink = (u32)s.nlink, .uid = s.uid, .gid = s.gid,
        .mode = (u16)s.mode, .ino = s.ino, .size = (u64)s.size, .blocks = (u64)s.blocks, .dev_minor = (u32)s.dev,
        .rdev_major = (u32)s.rdev >> 8, .rdev_minor = (u32)s.rdev & 255,
        .atime = statx_time_of(s.atime), .mtime = statx_time_of(s.mtime), .ctime = statx_time_of(s.ctime),
    };
    return copy_out(to, &x, sizeof x);
}

i64 sys_faccessat2(i32 dirfd, u64 path, u32 mode, u32 flags) {
    bool valid = mode <= 7 && !(flags & ~(u32)(AT_EACCESS | AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH));
    struct inode *i;
    int error = valid ? path_find(dirfd, path, flags, &i) : -EINVAL;

    if (error)
        return error;
    error = flags & AT_EACCESS ? inode_may(i, mode) : inode_may_real(i, mode);
    inode_put(i);
    return error;
}

i64 sys_faccessat(i32 dirfd, u64 path, u32 mode) { return sys_faccessat2(dirfd, path, mode, 0); }
i64 sys_access(u64 path, u32 mode) { return sys_faccessat2(AT_FDCWD, path, mode, 0); }

static i64 read_link(struct inode *i, u64 to, u64 size) {
    if (!is_link(i) || !size)
        return -EINVAL;
    if (i->jump && !proc_may_follow(i))
        return -EACCES;
    char path[512];
    const char *target = !i->jump ? i->target : inode_path(i->jump, path, sizeof path) ? path : "";
    u64 n = MIN(size, strlen(target));
    return copy_out(to, target, n) ? -EFAULT : (i64)n;
}

i64 sys_readlinkat(i32 dirfd, u64 path, u64 to, u64 size) {
    struct inode *i;
    i64 result = path_find(dirfd, path, AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH, &i);

    if (result)
        return result;
    result = read_link(i, to, size);
    inode_put(i);
    return result;
}

i64 sys_readlink(u64 path, u64 to, u64 size) { return sys_readlinkat(AT_FDCWD, path, to, size); }

static int set_mode(struct inode *i, u32 mode) {
    int error = may_change(i);

    if (error)
        return error;
    i->mode = (i->mode & S_IFMT) | (mode & 07777);
    i->ctime = calendar_ns();
    inotify_tell(i, IN_ATTRIB);
    return 0;
}

/* An owner may give a file to his own group, and that is all.  What runs with its owner's rights does so no more. */
static int set_owner(struct inode *i, u32 uid, u32 gid) {
    bool same = (uid == KEEP_ID || uid == i->uid) && (gid == KEEP_ID || gid == i->gid || in_group(gid));

    if (may_change(i) == -EROFS)
        return -EROFS;
    if (!is_root() && !(same && owns(i)))
        return -EPERM;
    i->uid = uid == KEEP_ID ? i->uid : uid;
    i->gid = gid == KEEP_ID ? i->gid : gid;
    if (!is_directory(i))
        i->mode &= ~(u32)(S_ISUID | (i->mode & S_IXGRP ? S_ISGID : 0));
    i->ctime = calendar_ns();
    inotify_tell(i, IN_ATTRIB);
    return 0;
}

i64 sys_fchmodat(i32 dirfd, u64 path, u32 mode) {
    struct inode *i;
    int error = path_find(dirfd, path, 0, &i);

    if (error)
        return error;
    error = set_mode(i, mode);
    inode_put(i);
    return error;
}

i64 sys_chmod(u64 path, u32 mode) { return sys_fchmodat(AT_FDCWD, path, mode); }
i64 sys_fchmod(i32 fd, u32 mode) { return file_at(fd) ? set_mode(file_at(fd)->inode, mode) : -EBADF; }

i64 sys_fchownat(i32 dirfd, u64 path, u32 uid, u32 gid, u32 flags) {
    bool valid = !(flags & ~(u32)(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH));
    struct inode *i;
    int error = valid ? path_find(dirfd, path, flags, &i) : -EINVAL;

    if (error)
        return error;
    error = set_owner(i, uid, gid);
    inode_put(i);
    return error;
}

i64 sys_chown(u64 path, u32 uid, u32 gid) { return sys_fchownat(AT_FDCWD, path, uid, gid, 0); }
i64 sys_lchown(u64 path, u32 uid, u32 gid) { return sys_fchownat(AT_FDCWD, path, uid, gid, AT_SYMLINK_NOFOLLOW); }
i64 sys_fchown(i32 fd, u32 uid, u32 gid) { return file_at(fd) ? set_owner(file_at(fd)->inode, uid, gid) : -EBADF; }

static int pick_time(u64 *time, struct timespec wanted, u64 now) {
    if (wanted.nsec == UTIME_OMIT)
        return 0;
    if (wanted.nsec != UTIME_NOW && (u64)wanted.nsec >= NS_PER_S)
        return -EINVAL;
    *time = wanted.nsec == UTIME_NOW ? now : (u64)wanted.sec * NS_PER_S + (u64)wanted.nsec;
    return 0;
}

static int set_times(i32 dirfd, u64 path, const struct timespec t[2], u32 flags) {
    struct inode *i;
    int error = 0;

    if (path) {
        error = path_find(dirfd, path, flags, &i);
    } else if (!file_at(dirfd)) {
        error = -EBADF;
    } else {
        i = file_at(dirfd)->inode;
        inode_get(i);
    }
    if (error)
        return error;
    u64 now = calendar_ns();
    if (may_change(i))          /* others may say that it is of now, if they may write */
        error = t[0].nsec != UTIME_NOW || t[1].nsec != UTIME_NOW ? may_change(i) : inode_may(i, MAY_WRITE);
    if (!error)
        error = pick_time(&i->atime, t[0], now);
    if (!error)
        error = pick_time(&i->mtime, t[1], now);
    if (!error) {
        i->ctime = now;
        inotify_tell(i, IN_ATTRIB);
    }
    inode_put(i);
    return error;
}

i64 sys_utimensat(i32 dirfd, u64 path, u64 times, u32 flags) {
    struct timespec t[2] = {{0, UTIME_NOW}, {0, UTIME_NOW}};

    return times && copy_in(t, times, sizeof t) ? -EFAULT : set_times(dirfd, path, t, flags);
}

i64 sys_utimes(u64 path, u64 times) {
    struct timeval v[2];
    struct timespec t[2] = {{0, UTIME_NOW}, {0, UTIME_NOW}};

    if (times && copy_in(v, times, sizeof v))
        return -EFAULT;
    for (int k = 0; times && k < 2; k++)
        t[k] = (struct timespec){v[k].sec, v[k].usec * 1000};
    return set_times(AT_FDCWD, path, t, 0);
}

i64 sys_utime(u64 path, u64 times) {
    i64 seconds[2];
    struct timespec t[2] = {{0, UTIME_NOW}, {0, UTIME_NOW}};

    if (times && copy_in(seconds, times, sizeof seconds))
        return -EFAULT;
    for (int k = 0; times && k < 2; k++)
        t[k] = (struct timespec){seconds[k], 0};
    return set_times(AT_FDCWD, path, t, 0);
}

static i64 give_statfs(const struct inode *i, u64 to) {
    struct statfs proc = {.type = PROC_MAGIC, .bsize = PAGE_SIZE, .frsize = PAGE_SIZE, .namelen = NAME_MAX};
    struct statfs s = {
        .type = TMPFS_MAGIC, .bsize = PAGE_SIZE, .frsize = PAGE_SIZE, .namelen = NAME_MAX, .blocks = (i64)pages_total(),
        .bfree = (i64)pages_free(), .bavail = (i64)pages_free(), .files = 1 << 20, .ffree = 1 << 20,
    };
    return copy_out(to, i->in_proc ? &proc : &s, sizeof s);
}

i64 sys_fstatfs(i32 fd, u64 to) {
    const struct file *f = file_at(fd);

    return f ? give_statfs(f->inode, to) : -EBADF;
}

i64 sys_statfs(u64 path, u64 to) {
    struct inode *i;
    int error = path_find(AT_FDCWD, path, 0, &i);

    if (error)
        return error;
    error = (int)give_statfs(i, to);
    inode_put(i);
    return error;
}

i64 sys_truncate(u64 path, i64 size) {
    struct inode *i;
    int error = path_find(AT_FDCWD, path, 0, &i);

    if (error)
        return error;
    error = size < 0 ? -EINVAL : is_directory(i) ? -EISDIR : !is_regular(i) ? -EINVAL : inode_may(i, MAY_WRITE);
    if (!error)
        error = resize_file(i, (u64)size);
    inode_put(i);
    return error;
}
