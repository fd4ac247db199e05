/* Extended attributes: what is the same on every file system, with those and without. */
#include "linux.h"

enum {
    SYS_setxattr = 188, SYS_lsetxattr, SYS_fsetxattr, SYS_getxattr, SYS_lgetxattr, SYS_fgetxattr, SYS_listxattr,
    SYS_llistxattr, SYS_flistxattr, SYS_removexattr, SYS_lremovexattr, SYS_fremovexattr,
};

static char buffer[PAGE], long_name[300];

int main(int argc, char **argv) {
    (void)argc, (void)argv;
    i64 fd = syscall(SYS_open, "file", O_RDWR | O_CREAT, 0644);
    memset(long_name, 'x', sizeof long_name - 1);
    syscall(SYS_symlink, "nothing", "link");

    print("-- a name space that there is not\n");
    CALL(SYS_setxattr, "file", "nobodys.name", "value", 5, 0);
    CALL(SYS_lsetxattr, "file", "nobodys.name", "value", 5, 0);
    CALL(SYS_fsetxattr, fd, "nobodys.name", "value", 5, 0);
    CALL(SYS_getxattr, "file", "nobodys.name", buffer, sizeof buffer);
    CALL(SYS_lgetxattr, "link", "nobodys.name", buffer, sizeof buffer);
    CALL(SYS_fgetxattr, fd, "nobodys.name", buffer, sizeof buffer);
    CALL(SYS_removexattr, "file", "nobodys.name");
    CALL(SYS_lremovexattr, "file", "nobodys.name");
    CALL(SYS_fremovexattr, fd, "nobodys.name");
    CHECK(syscall(SYS_listxattr, "file", buffer, sizeof buffer) >= 0);
    CHECK(syscall(SYS_llistxattr, "link", buffer, sizeof buffer) >= 0);
    CHECK(syscall(SYS_flistxattr, fd, buffer, sizeof buffer) >= 0);

    print("-- names, values and flags that cannot be\n");
    CALL(SYS_setxattr, "file", "", "value", 5, 0);
    CALL(SYS_setxattr, "file", long_name, "value", 5, 0);
    CALL(SYS_setxattr, "file", "user.name", "value", 5, 4);
    CALL(SYS_setxattr, "file", "user.name", buffer, 65537, 0);
    CALL(SYS_setxattr, "file", 8, "value", 5, 0);
    CALL(SYS_getxattr, "file", "", buffer, sizeof buffer);
    CALL(SYS_getxattr, "file", long_name, buffer, sizeof buffer);
    CALL(SYS_removexattr, "file", "");

    print("-- files that there are not\n");
    CALL(SYS_setxattr, "nothing", "user.name", "value", 5, 0);
    CALL(SYS_getxattr, "link", "user.name", buffer, sizeof buffer);
    CALL(SYS_listxattr, "link", buffer, sizeof buffer);
    CALL(SYS_removexattr, "file/below", "user.name");
    CALL(SYS_fsetxattr, 99, "user.name", "value", 5, 0);
    CALL(SYS_fgetxattr, 99, "user.name", buffer, sizeof buffer);
    CALL(SYS_flistxattr, 99, buffer, sizeof buffer);
    CALL(SYS_fremovexattr, 99, "user.name");
    return 0;
}
