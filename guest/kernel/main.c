/* The kernel's beginning: bring everything up, then become the first program. */
#include "cpu.h"
#include "device.h"
#include "inode.h"
#include "kernel.h"
#include "options.h"
#include "page.h"
#include "process.h"
#include "slab.h"
#include "tar.h"
#include "time.h"
#include "tty.h"
#include "vm.h"

#define CANNOT_RUN 126
#define NOT_FOUND 127
#define BAD_INIT 125

struct strings { char **list; u64 count; };

/* The strings from `*at` up to an empty one. */
static struct strings read_list(struct blob init, u64 *at) {
    struct strings s = {NULL, 0};
    u64 end = *at;

    while (end < init.size && init.data[end]) {
        u64 n = strnlen((char *)init.data + end, init.size - end);
        if (end + n == init.size)
            break;
        end += n + 1;
        s.count++;
    }
    if (end >= init.size || init.data[end] || !(s.list = kmalloc((s.count + 1) * sizeof *s.list))) {
        print("the list of arguments is malformed");
        plat_exit(BAD_INIT);
    }
    for (u64 i = 0; i < s.count; i++) {
        s.list[i] = (char *)init.data + *at;
        *at += strlen(s.list[i]) + 1;
    }
    *at += 1;
    return s;
}

static void run_first(struct blob init) {
    u64 at = 0;
    struct strings argv = read_list(init, &at), envp = read_list(init, &at);

    if (!argv.count) {
        print("no program to run");
        plat_exit(BAD_INIT);
    }
    int error = exec(argv.list[0], argv.list, argv.count, envp.list, envp.count);
    if (!error)
        return;
    print("cannot run %s: %s", argv.list[0],
          error == -ENOENT ? "no such file" : error == -ENOEXEC ? "no static x86-64 program" :
          error == -EACCES ? "not executable" : error == -ENOMEM ? "not enough memory" : "refused");
    plat_exit(error == -ENOENT ? NOT_FOUND : CANNOT_RUN);
}

void kernel_main(struct bootinfo *boot) {
    options_init(boot->cmdline);
    time_init();
    pages_init(boot->memory, boot->free_start);
    inodes_init();
    tar_unpack(boot->rootfs);
    this_cpu()->task = process_create();
    devices_init();
    tty_init();
    run_first(boot->init);
    plat_set_kstack(frame_of(current) + 1);
    plat_enter_user(frame_of(current));
}
