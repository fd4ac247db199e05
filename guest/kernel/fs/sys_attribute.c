/* Extended attributes: these file systems have none, and say so in Linux's words. */
#include "file.h"
#include "kernel.h"
#include "mm/vm.h"
#include "syscall/syscalls.h"

#define NAME_SIZE 256           /* with its end */
#define VALUE_MAX 65536
#define XATTR_FLAGS 3u          /* CREATE, REPLACE */

static i64 check_name(u64 user) {
    char name[NAME_SIZE];
    i64 n = copy_in_string(name, user, sizeof name);

    return n == 0 || n == -ENAMETOOLONG ? -ERANGE : n < 0 ? n : -EOPNOTSUPP;
}

static i64 check_value(u64 name, u64 size, u32 flags) {
    return flags & ~XATTR_FLAGS ? -EINVAL : size > VALUE_MAX ? -E2BIG : check_name(name);
}

/* The file is there? */
static i64 look(u64 path, u32 at_flags) {
    struct inode *i;
    int error = path_find(AT_FDCWD, path, at_flags, &i);

    if (!error)
        inode_put(i);
    return error;
}

static i64 look_at(i32 fd) {
    const struct file *f = file_at(fd);
    return f && !(f->flags & O_PATH) ? 0 : -EBADF;
}

#define AFTER(check, then) ({ i64 error_ = check; error_ ? error_ : (then); })

i64 sys_setxattr(u64 path, u64 name, u64 value, u64 size, u32 flags) {
    (void)value;
    return AFTER(look(path, 0), check_value(name, size, flags));
}
i64 sys_lsetxattr(u64 path, u64 name, u64 value, u64 size, u32 flags) {
    (void)value;
    return AFTER(look(path, AT_SYMLINK_NOFOLLOW), check_value(name, size, flags));
}
i64 sys_fsetxattr(i32 fd, u64 name, u64 value, u64 size, u32 flags) {
    (void)value;
    return AFTER(look_at(fd), check_value(name, size, flags));
}
i64 sys_getxattr(u64 path, u64 name, u64 value, u64 size) {
    (void)value, (void)size;
    return AFTER(look(path, 0), check_name(name));
}
i64 sys_lgetxattr(u64 path, u64 name, u64 value, u64 size) {
    (void)value, (void)size;
    return AFTER(look(path, AT_SYMLINK_NOFOLLOW), check_name(name));
}
i64 sys_fgetxattr(i32 fd, u64 name, u64 value, u64 size) {
    (void)value, (void)size;
    return AFTER(look_at(fd), check_name(name));
}
i64 sys_listxattr(u64 path, u64 list, u64 size) {
    (void)list, (void)size;
    return look(path, 0);
}
i64 sys_llistxattr(u64 path, u64 list, u64 size) {
    (void)list, (void)size;
    return look(path, AT_SYMLINK_NOFOLLOW);
}
i64 sys_flistxattr(i32 fd, u64 list, u64 size) {
    (void)list, (void)size;
    return look_at(fd);
}
i64 sys_removexattr(u64 path, u64 name) { return AFTER(look(path, 0), check_name(name)); }
i64 sys_lremovexattr(u64 path, u64 name) { return AFTER(look(path, AT_SYMLINK_NOFOLLOW), check_name(name)); }
i64 sys_fremovexattr(i32 fd, u64 name) { return AFTER(look_at(fd), check_name(name)); }
