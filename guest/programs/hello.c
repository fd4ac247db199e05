/* What `make demo` runs: a dozen system calls, and some memory. */
#include "program.h"

#define PAGE 4096UL
#define PROT_READ_WRITE 3
#define MAP_PRIVATE_ANONYMOUS 0x22

struct utsname { char system[65], node[65], release[65], version[65], machine[65], domain[65]; };

static void look_at_myself(const char *path) {
    u8 magic[4] = {0};
    i64 fd = syscall(SYS_open, path, 0);

    if (fd < 0) {
        print("I cannot open %s: error %ld\n", path, -fd);
        return;
    }
    i64 n = syscall(SYS_read, fd, magic, sizeof magic), size = syscall(SYS_lseek, fd, 0, 2);
    syscall(SYS_close, fd);
    print("%s has %ld bytes; the first %ld are %x %x %x %x\n", path, size, n, magic[0], magic[1], magic[2], magic[3]);
}

static void touch_memory(void) {
    i64 at = syscall(SYS_mmap, NULL, 4 * PAGE, PROT_READ_WRITE, MAP_PRIVATE_ANONYMOUS, -1, 0);

    if (at < 0) {
        print("no memory: error %ld\n", -at);
        return;
    }
    volatile u64 *word = (volatile u64 *)at;
    *word = 0x1234;
    print("a fresh page at 0x%lx keeps what I write: 0x%lx\n", at, *word);
    syscall(SYS_munmap, at, 4 * PAGE);
}

int main(int argc, char **argv) {
    struct utsname name;

    print("Hello from a container.\n");
    if (syscall(SYS_uname, &name) == 0)
        print("I am process %ld, on %s %s (%s).\n", syscall(SYS_getpid), name.system, name.release, name.machine);
    touch_memory();
    look_at_myself(argv[0]);
    for (int i = 1; i < argc; i++)
        print("argument %d: %s\n", i, argv[i]);
    return 0;
}
