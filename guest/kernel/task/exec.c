/* Running a program: its stack, its first registers, and the interpreter that a script is run by. */
#include "fpu.h"
#include "fs/device.h"
#include "fs/file.h"
#include "fs/inode.h"
#include "ipc/futex.h"
#include "kernel.h"
#include "mm/page.h"
#include "mm/slab.h"
#include "mm/vm.h"
#include "platform/entry.h"
#include "platform/space.h"
#include "process.h"
#include "program.h"
#include "selectors.h"
#include "time/posix_timer.h"

#define STACK_START (33 * PAGE_SIZE)    /* what it has before it grows (fault.c) */
#define AUX_PAIRS 20
#define ARG_MAX (3UL << 20)     /* strings and pointers; what a program may give is less (sys_process.c) */
#define ARG_MIN (32 * PAGE_SIZE)        /* so much they may have, however small the stack is to be */
#define SCRIPT_LINE 256         /* as much of a #! line as counts */
#define MAX_SCRIPTS 4

#define FLAGS_AT_START 0x202    /* IF */

const struct fpu fpu_at_start = {{[0] = 0x7f, [1] = 0x03, [24] = 0x80, [25] = 0x1f}};       /* FCW, MXCSR */

/* The first stack, made in kernel memory and copied out at once:
 *
 *   rsp → argc │ argv[0] … NULL │ envp[0] … NULL │ auxv … AT_NULL │ 16 random bytes │ "x86_64" │ strings │ ← top
 */
struct image { u8 *bytes; u64 size, used, base; u64 *word; };

static u64 add_string(struct image *im, const char *s) {
    u64 at = im->base + im->used, n = strlen(s) + 1;

    memcpy(im->bytes + im->used, s, n);
    im->used += n;
    return at;
}

static u64 strings_size(char **s, u64 count) {
    u64 size = 0;

    for (u64 i = 0; i < count; i++)
        size += strlen(s[i]) + 1;
    return size;
}

static int build_stack(const struct program *p, u64 loader, struct mm *mm, const struct command *c, u64 *rsp) {
    u64 words = 1 + c->argc + 1 + c->envc + 1 + 2 * AUX_PAIRS;
    u64 size = words * 8 + 16 + sizeof "x86_64" + strlen(c->name) + 1 + strings_size(c->argv, c->argc) + strings_size(c->envp, c->envc);
    struct image im = {.size = ROUND_UP(size, 16), .used = words * 8};
    struct ids uid, gid;
    u8 random[16];
    int error;

    if (im.size > MAX(MIN(ARG_MAX, current->process->limits[RLIMIT_STACK].soft / 4), ARG_MIN))
        return -E2BIG;
    ids_of_program(p->inode, &uid, &gid);
    if (!(im.bytes = kmalloc(im.size)))
        return -ENOMEM;
    im.base = mm->stack_top - im.size;
    im.word = (u64 *)im.bytes;
    *im.word++ = c->argc;
    u64 random_at = im.base + im.used;
    random_bytes(random, sizeof random);
    memcpy(im.bytes + im.used, random, sizeof random);
    im.used += sizeof random;
    u64 platform_at = add_string(&im, "x86_64"), name_at = add_string(&im, c->name);
    mm->arguments = im.base + im.used;
    for (u64 i = 0; i < c->argc; i++)
        *im.word++ = add_string(&im, c->argv[i]);
    *im.word++ = 0;
    mm->environment = im.base + im.used;
    for (u64 i = 0; i < c->envc; i++)
        *im.word++ = add_string(&im, c->envp[i]);
    *im.word++ = 0;
    mm->strings_end = im.base + im.used;
    const u64 aux[AUX_PAIRS][2] = {
        {AT_PHDR, p->headers}, {AT_PHENT, sizeof *p->segment}, {AT_PHNUM, p->header.phnum}, {AT_PAGESZ, PAGE_SIZE},
        {AT_BASE, loader}, {AT_FLAGS, 0}, {AT_ENTRY, p->entry}, {AT_UID, uid.real}, {AT_EUID, uid.effective},
        {AT_GID, gid.real}, {AT_EGID, gid.effective}, {AT_PLATFORM, platform_at}, {AT_HWCAP, plat_hwcap()},
        {AT_CLKTCK, 100}, {AT_SECURE, uid.real != uid.effective || gid.real != gid.effective}, {AT_RANDOM, random_at},
        {AT_HWCAP2, 0}, {AT_EXECFN, name_at}, {AT_MINSIGSTKSZ, signal_frame_size()}, {AT_NULL, 0},
    };
    memcpy(im.word, aux, sizeof aux);
    *rsp = im.base;
    error = copy_out(im.base, im.bytes, im.size);
    kfree(im.bytes);
    return error;
}

static void close_on_exec(void) {
    for (i32 fd = 0; fd < MAX_FILES; fd++)
        if (file_at(fd) && fd_closes_on_exec(fd))
            fd_close(fd);
}

/* The program's own from here on: nothing that the old one arranged applies to it. */
static void start(const struct program *p, u64 entry, const char *name, u64 rsp) {
    struct process *process = current->process;

    for (const char *s = name; *s; s++)
        if (*s == '/')
            name = s + 1;
    copy_string(current->name, name, sizeof current->name);
    if (process->program)
        inode_put(process->program);
    process->program = p->inode;
    inode_get(p->inode);
    process->has_executed = true;
    ids_of_program(p->inode, &process->uid, &process->gid);
    process->dumpable = process->uid.real == process->uid.effective && process->gid.real == process->gid.effective;
    process->exit_signal = SIGCHLD;
    process->keys = 0;
    close_on_exec();
    posix_timers_end(process);
    signal_handlers_drop(process);
    current->altstack = (struct sigaltstack){.flags = SS_DISABLE};
    current->clear_tid = current->robust_list = 0;
    *frame_of(current) = (struct trapframe){
        .rip = entry, .cs = USER_CS, .rflags = FLAGS_AT_START, .rsp = rsp, .ss = USER_SS,
    };
    fpu_load(&fpu_at_start);
    plat_reset_user_state();
}

/* Nobody else may have the table of files that the new program gets. */
static int own_files(struct process *p) {
    struct files *own;

    if (p->files->refs == 1)
        return 0;
    if (!(own = files_copy(p->files)))
        return -ENOMEM;
    files_put(p->files);
    p->files = own;
    return 0;
}

static int load(struct program *p, struct program *loader, const struct command *c) {
    struct process *process = current->process;
    struct mm *old = process->mm, *new = mm_create();
    u64 rsp = 0;
    int error;

    if (!new)
        return -ENOMEM;
    place(new, process);
    const struct vma stack = {.start = new->stack_top - STACK_START, .end = new->stack_top, .prot = PROT_READ | PROT_WRITE, .grows = true};
    process->mm = new;                  /* copy_out() and the platform mean this one from here on */
    error = map_segments(p, new);
    if (!error)
        error = vma_add(new, &stack);
    if (!error && loader)
        error = map_segments(loader, new);
    if (!error)
        error = build_stack(p, loader ? loader->base : 0, new, c, &rsp);
    if (!error)
        error = own_files(process);
    process->mm = old;
    if (error) {
        mm_put(new);
        return error;
    }
    threads_end();
    if (current->clear_tid || current->robust_list)
        futexes_of_thread(current);
    process->most_pages = most_pages(process);
    process->mm = new;
    new->brk_start = new->brk = heap_behind(p->end, process);
    plat_as_switch(new->as);
    mm_put(old);
    vfork_done(process);
    start(p, loader ? loader->entry : p->entry, c->name, rsp);
    return 0;
}

/* #!interpreter argument: what is to be run instead.  The line's words stay in `line`. */
static bool read_script(struct inode *i, char line[SCRIPT_LINE], char **interpreter, char **argument) {
    i64 n = inode_read(i, line, SCRIPT_LINE - 1, 0);
    char *s = line + 2;

    if (n < 2 || line[0] != '#' || line[1] != '!')
        return false;
    line[n] = 0;
    for (char *c = line; *c; c++)
        if (*c == '\n')
            *c = 0;
    while (*s == ' ' || *s == '\t')
        s++;
    *interpreter = s;
    while (*s && *s != ' ' && *s != '\t')
        s++;
    while (*s == ' ' || *s == '\t')
        *s++ = 0;
    *argument = *s ? s : NULL;
    u64 end = strlen(s);
    while (end && (s[end - 1] == ' ' || s[end - 1] == '\t'))
        s[--end] = 0;
    return **interpreter;
}

static int exec_nested(const char *path, const struct command *, int scripts);

/* The interpreter gets the script's path in the place of its own name. */
static int exec_script(const char *path, char *interpreter, char *argument, const struct command *c, int scripts) {
    u64 extra = argument ? 2 : 1, rest = c->argc ? c->argc - 1 : 0;
    char **args = kmalloc((extra + 1 + rest + 1) * sizeof *args);
    struct command whole = *c;
    int error = -ENOMEM;

    if (args) {
        u64 n = 0;
        args[n++] = interpreter;
        if (argument)
            args[n++] = argument;
        args[n++] = (char *)path;
        memcpy(args + n, c->argv + 1, rest * sizeof *args);
        whole.argv = args;
        whole.argc = n + rest;
        error = exec_nested(interpreter, &whole, scripts + 1);
    }
    kfree(args);
    return error;
}

static int exec_inode(struct inode *i, const char *path, const struct command *c, int scripts) {
    char line[SCRIPT_LINE], *interpreter, *argument;

    if (!is_regular(i) || inode_may(i, MAY_EXEC))
        return -EACCES;
    if (read_script(i, line, &interpreter, &argument))
        return scripts == MAX_SCRIPTS ? -ELOOP : exec_script(path, interpreter, argument, c, scripts);
    struct program *p = kmalloc(sizeof *p), *loader = NULL;
    int error = p ? read_headers(p, i) : -ENOMEM;
    if (!error)
        error = find_loader(p, &loader);
    if (!error)
        error = load(p, loader, c);
    if (loader)
        inode_put(loader->inode);
    kfree(loader);
    kfree(p);
    return error;
}

static int exec_nested(const char *path, const struct command *c, int scripts) {
    struct inode *i;
    int error = name_lookup(current->process->directory, path, true, &i);

    if (!error) {
        error = exec_inode(i, path, c, scripts);
        inode_put(i);
    }
    return error;
}

int exec(struct inode *i, const struct command *c) { return exec_inode(i, c->name, c, 0); }
int exec_path(const struct command *c) { return exec_nested(c->name, c, 0); }
