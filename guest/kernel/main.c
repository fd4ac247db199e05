/* The kernel's beginning: bring everything up, then become the first program. */
#include "fs/device.h"
#include "fs/file.h"
#include "fs/inode.h"
#include "fs/tar.h"
#include "kernel.h"
#include "mm/page.h"
#include "mm/slab.h"
#include "mm/vm.h"
#include "options.h"
#include "platform.h"
#include "platform/console.h"
#include "platform/entry.h"
#include "proc/proc.h"
#include "task/cpu.h"
#include "task/process.h"
#include "task/settings.h"
#include "time/time.h"
#include "tty/tty.h"

#define CANNOT_RUN 126
#define NOT_FOUND 127
#define BAD_INIT 125

struct strings { char **list; u64 count; };

/* The init block: how many arguments and how many variables there are, in decimal, then all of them, then settings
 * (task/settings.h), each string ended by NUL. */
static const char *next_string(struct blob init, u64 *at) {
    const char *s = (const char *)init.data + *at;
    u64 n = *at < init.size ? strnlen(s, init.size - *at) : 0;

    if (*at + n >= init.size) {
        print("the list of arguments is malformed");
        plat_exit(BAD_INIT);
    }
    *at += n + 1;
    return s;
}

static u64 next_count(struct blob init, u64 *at) {
    u64 count = 0;

    for (const char *s = next_string(init, at); *s >= '0' && *s <= '9' && count < init.size; s++)
        count = count * 10 + (u64)(*s - '0');
    return MIN(count, init.size);
}

static struct strings read_list(struct blob init, u64 *at, u64 count) {
    struct strings s = {kmalloc((count + 1) * sizeof *s.list), count};

    if (!s.list) {
        print("too many arguments");
        plat_exit(BAD_INIT);
    }
    for (u64 i = 0; i < count; i++)
        s.list[i] = (char *)next_string(init, at);
    return s;
}

static void run_first(struct blob init) {
    u64 at = 0, arguments = next_count(init, &at), variables = next_count(init, &at);
    struct strings argv = read_list(init, &at, arguments), envp = read_list(init, &at, variables);

    if (!argv.count) {
        print("no program to run");
        plat_exit(BAD_INIT);
    }
    while (at < init.size)
        settings_apply(next_string(init, &at));
    const char *program = settings_program ? settings_program : argv.list[0];
    int error = exec_path(&(struct command){program, argv.list, envp.list, argv.count, envp.count});
    if (!error)
        return;
    print("cannot run %s: %s", program,
          error == -ENOENT ? "no such file" : error == -ENOEXEC ? "no x86-64 program" : error == -ELIBBAD ? "its loader is none" :
          error == -EACCES ? "not executable" : error == -ENOMEM ? "not enough memory" : "refused");
    plat_exit(error == -ENOENT ? NOT_FOUND : CANNOT_RUN);
}

static void first_process(void) {
    struct process *p = init_process = process_create();

    if (!p || !(p->files = files_create()) || !(p->mm = mm_create()))
        panic("no memory for a process");
    this_cpu()->task = p->threads;
    p->group = p->session = p->pid;
    p->umask = 022;
    p->root = p->directory = root_inode;
    inode_get(root_inode);
    inode_get(root_inode);
    p->exit_signal = SIGCHLD;
    p->dumpable = true;
    for (int i = 0; i < RLIMITS; i++)
        p->limits[i] = (struct rlimit){RLIM_INFINITY, RLIM_INFINITY};
    p->limits[RLIMIT_CORE].soft = 0;
    p->limits[RLIMIT_NICE] = (struct rlimit){0, 0};
    p->limits[RLIMIT_STACK] = (struct rlimit){8UL << 20, RLIM_INFINITY};
    p->limits[RLIMIT_NOFILE] = (struct rlimit){MAX_FILES, MAX_FILES};
}

void kernel_main(struct bootinfo *boot) {
    options_init(boot->cmdline);
    time_init();
    pages_init(boot->memory, boot->free_start);
    faults_init();
    inodes_init();
    tar_unpack(boot->rootfs);
    first_process();
    devices_init();
    tty_init();
    proc_init();
    run_first(boot->init);
    plat_set_kstack(frame_of(current) + 1);
    plat_enter_user(frame_of(current));
}
