/* Loading a program: its segments, its stack, its first registers. */
#include "file.h"
#include "inode.h"
#include "device.h"
#include "fpu.h"
#include "futex.h"
#include "kernel.h"
#include "page.h"
#include "process.h"
#include "slab.h"
#include "vm.h"

#define PIE_BASE 0x555555554000UL
#define STACK_ROOM (8UL << 20)   /* where no segment may be */
#define STACK_START (33 * PAGE_SIZE)    /* what it has before it grows (fault.c) */
#define MAX_SEGMENTS 64
#define AUX_PAIRS 18
#define ARG_MAX (3UL << 20)     /* strings and pointers; what a program may give is less (sys_process.c) */
#define ARG_MIN (32 * PAGE_SIZE)        /* so much they may have, however small the stack is to be */
#define SCRIPT_LINE 256         /* as much of a #! line as counts */
#define MAX_SCRIPTS 4

#define USER_CS 0x23
#define USER_SS 0x1b
#define FLAGS_AT_START 0x202    /* IF */

const struct fpu fpu_at_start = {{[0] = 0x7f, [1] = 0x03, [24] = 0x80, [25] = 0x1f}};       /* FCW, MXCSR */

struct program {
    struct inode *inode;
    struct elf_header header;
    struct elf_segment segment[MAX_SEGMENTS];
    u64 base, entry, headers, end;      /* base: what is added to the file's addresses */
};

static int read_headers(struct program *p) {
    struct elf_header *h = &p->header;
    u64 size;

    if (inode_read(p->inode, h, sizeof *h, 0) != sizeof *h || memcmp(h->ident, "\177ELF\2\1", 6) != 0)
        return -ENOEXEC;
    size = (u64)h->phnum * sizeof *p->segment;
    if ((h->type != ET_EXEC && h->type != ET_DYN) || h->machine != EM_X86_64 || h->phentsize != sizeof *p->segment)
        return -ENOEXEC;
    if (h->phnum == 0 || h->phnum > MAX_SEGMENTS || inode_read(p->inode, p->segment, size, h->phoff) != (i64)size)
        return -ENOEXEC;
    p->base = h->type == ET_DYN ? PIE_BASE : 0;
    p->entry = p->base + h->entry;
    return 0;
}

static u32 protection_of(const struct elf_segment *s) {
    return (s->flags & PF_R ? PROT_READ : 0) | (s->flags & PF_W ? PROT_WRITE : 0) | (s->flags & PF_X ? PROT_EXEC : 0);
}

static int map_segment(struct program *p, struct mm *mm, const struct elf_segment *s) {
    u64 va = p->base + s->vaddr, start = ROUND_DOWN(va, PAGE_SIZE), file_end = va + s->filesz, end = va + s->memsz;
    u64 bytes_end = s->filesz ? ROUND_UP(file_end, PAGE_SIZE) : start;
    u32 prot = protection_of(s);
    int error;

    if (s->vaddr >= USER_TOP || s->memsz >= USER_TOP || end > USER_TOP - STACK_ROOM || s->filesz > s->memsz || start == 0)
        return -ENOEXEC;
    if ((s->offset ^ s->vaddr) & PAGE_MASK || s->offset + s->filesz < s->offset ||
        s->offset + s->filesz > p->inode->size || !vma_is_free(mm, start, ROUND_UP(end, PAGE_SIZE)))
        return -ENOEXEC;
    if (s->offset <= p->header.phoff && p->header.phoff < s->offset + s->filesz)
        p->headers = va + p->header.phoff - s->offset;
    p->end = MAX(p->end, ROUND_UP(end, PAGE_SIZE));
    if (prot & PROT_EXEC && p->inode->text)
        return 0;                       /* map_text() brings it, as it was made for an earlier exec */
    error = plat_check_protection(prot & PROT_WRITE, prot & PROT_EXEC, false);
    const struct vma content = {.start = start, .end = bytes_end, .prot = prot, .inode = p->inode,
                                .offset = ROUND_DOWN(s->offset, PAGE_SIZE)};
    const struct vma zeros = {.start = bytes_end, .end = ROUND_UP(end, PAGE_SIZE), .prot = prot};
    if (!error && content.start < content.end)
        error = vma_add(mm, &content);
    if (!error && zeros.start < zeros.end)
        error = vma_add(mm, &zeros);
    if (!error && s->filesz && end > file_end && file_end & PAGE_MASK)
        error = prot & PROT_WRITE ? clear_user(file_end, MIN(end, ROUND_UP(file_end, PAGE_SIZE)) - file_end) : -ENOEXEC;
    return error;
}

/* Let the platform look at all that is to be executable, and remember what it made of it. */
static int make_text(const struct program *p, struct mm *mm) {
    bool keep = false;

    for (u32 i = 0; i < p->header.phnum; i++) {
        const struct elf_segment *s = &p->segment[i];
        u64 start = ROUND_DOWN(p->base + s->vaddr, PAGE_SIZE), end = ROUND_UP(p->base + s->vaddr + s->memsz, PAGE_SIZE);
        int made = s->type == PT_LOAD && s->flags & PF_X && s->memsz
                       ? plat_make_executable(mm->as, start, (end - start) >> PAGE_SHIFT) : 0;
        if (made < 0)
            return made;
        keep |= made;
    }
    if (keep)
        p->inode->text = mm_keep_text(mm);
    return 0;
}

static int map_segments(struct program *p, struct mm *mm) {
    int error = 0;

    for (u32 i = 0; i < p->header.phnum && !error; i++) {
        if (p->segment[i].type == PT_INTERP)
            return -ENOEXEC;            /* dynamic: no interpreter here */
        if (p->segment[i].type == PT_LOAD && p->segment[i].memsz)
            error = map_segment(p, mm, &p->segment[i]);
    }
    if (!error)
        error = p->inode->text ? mm_take_text(mm, p->inode->text) : make_text(p, mm);
    return error ? error : p->end ? 0 : -ENOEXEC;
}

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

static int build_stack(const struct program *p, struct mm *mm, const char *path, char **argv, u64 argc, char **envp, u64 envc, u64 *rsp) {
    u64 words = 1 + argc + 1 + envc + 1 + 2 * AUX_PAIRS;
    u64 size = words * 8 + 16 + sizeof "x86_64" + strlen(path) + 1 + strings_size(argv, argc) + strings_size(envp, envc);
    struct image im = {.size = ROUND_UP(size, 16), .used = words * 8};
    struct ids uid, gid;
    u8 random[16];
    int error;

    if (im.size > MAX(MIN(ARG_MAX, current->process->limits[RLIMIT_STACK].soft / 4), ARG_MIN))
        return -E2BIG;
    ids_of_program(p->inode, &uid, &gid);
    if (!(im.bytes = kmalloc(im.size)))
        return -ENOMEM;
    im.base = USER_TOP - im.size;
    im.word = (u64 *)im.bytes;
    *im.word++ = argc;
    u64 random_at = im.base + im.used;
    random_bytes(random, sizeof random);
    memcpy(im.bytes + im.used, random, sizeof random);
    im.used += sizeof random;
    u64 platform_at = add_string(&im, "x86_64"), path_at = add_string(&im, path);
    mm->arguments = im.base + im.used;
    for (u64 i = 0; i < argc; i++)
        *im.word++ = add_string(&im, argv[i]);
    *im.word++ = 0;
    mm->environment = im.base + im.used;
    for (u64 i = 0; i < envc; i++)
        *im.word++ = add_string(&im, envp[i]);
    *im.word++ = 0;
    mm->strings_end = im.base + im.used;
    const u64 aux[AUX_PAIRS][2] = {
        {AT_PHDR, p->headers}, {AT_PHENT, sizeof *p->segment}, {AT_PHNUM, p->header.phnum}, {AT_PAGESZ, PAGE_SIZE},
        {AT_BASE, 0}, {AT_FLAGS, 0}, {AT_ENTRY, p->entry}, {AT_UID, uid.real}, {AT_EUID, uid.effective},
        {AT_GID, gid.real}, {AT_EGID, gid.effective}, {AT_PLATFORM, platform_at}, {AT_HWCAP, plat_hwcap()},
        {AT_CLKTCK, 100}, {AT_SECURE, uid.real != uid.effective || gid.real != gid.effective}, {AT_RANDOM, random_at},
        {AT_EXECFN, path_at}, {AT_NULL, 0},
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
static void start(const struct program *p, const char *path, u64 rsp) {
    struct process *process = current->process;
    const char *name = path;

    for (const char *s = path; *s; s++)
        if (*s == '/')
            name = s + 1;
    copy_string(current->name, name, sizeof current->name);
    if (process->program)
        inode_put(process->program);
    process->program = p->inode;
    inode_get(p->inode);
    process->has_executed = true;
    ids_of_program(p->inode, &process->uid, &process->gid);
    process->exit_signal = SIGCHLD;
    close_on_exec();
    for (int i = 1; i <= SIGNALS; i++)
        process->actions[i] = (struct sigaction){.handler = process->actions[i].handler == SIG_IGN ? SIG_IGN : SIG_DFL};
    current->altstack = (struct sigaltstack){.flags = SS_DISABLE};
    current->clear_tid = current->robust_list = 0;
    *frame_of(current) = (struct trapframe){
        .rip = p->entry, .cs = USER_CS, .rflags = FLAGS_AT_START, .rsp = rsp, .ss = USER_SS,
    };
    fpu_load(&fpu_at_start);
    plat_start();
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

static int load(struct program *p, const char *path, char **argv, u64 argc, char **envp, u64 envc) {
    struct process *process = current->process;
    struct mm *old = process->mm, *new = mm_create();
    const struct vma stack = {.start = USER_TOP - STACK_START, .end = USER_TOP, .prot = PROT_READ | PROT_WRITE, .grows = true};
    u64 rsp = 0;
    int error;

    if (!new)
        return -ENOMEM;
    process->mm = new;                  /* copy_out() and the platform mean this one from here on */
    error = map_segments(p, new);
    if (!error)
        error = vma_add(new, &stack);
    if (!error)
        error = build_stack(p, new, path, argv, argc, envp, envc, &rsp);
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
    process->mm = new;
    new->brk_start = new->brk = p->end;
    plat_as_switch(new->as);
    mm_put(old);
    vfork_done(process);
    start(p, path, rsp);
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

static int exec_nested(const char *path, char **argv, u64 argc, char **envp, u64 envc, int scripts);

/* The interpreter gets the script's name in the place of its own. */
static int exec_script(char *interpreter, char *argument, const char *path, char **argv, u64 argc, char **envp,
                       u64 envc, int scripts) {
    u64 extra = argument ? 2 : 1, rest = argc ? argc - 1 : 0;
    char **args = kmalloc((extra + 1 + rest + 1) * sizeof *args);
    int error = -ENOMEM;

    if (args) {
        u64 n = 0;
        args[n++] = interpreter;
        if (argument)
            args[n++] = argument;
        args[n++] = (char *)path;
        memcpy(args + n, argv + 1, rest * sizeof *args);
        error = exec_nested(interpreter, args, n + rest, envp, envc, scripts + 1);
    }
    kfree(args);
    return error;
}

static int exec_inode(struct inode *i, const char *path, char **argv, u64 argc, char **envp, u64 envc, int scripts) {
    char line[SCRIPT_LINE], *interpreter, *argument;

    if (!is_regular(i) || inode_may(i, MAY_EXEC))
        return -EACCES;
    if (read_script(i, line, &interpreter, &argument))
        return scripts == MAX_SCRIPTS ? -ELOOP
                                      : exec_script(interpreter, argument, path, argv, argc, envp, envc, scripts);
    struct program *p = kmalloc(sizeof *p);
    int error = -ENOMEM;
    if (p) {
        p->inode = i;
        error = read_headers(p);
        if (!error)
            error = load(p, path, argv, argc, envp, envc);
    }
    kfree(p);
    return error;
}

static int exec_nested(const char *path, char **argv, u64 argc, char **envp, u64 envc, int scripts) {
    struct inode *i;
    int error = name_lookup(current->process->directory, path, true, &i);

    if (!error) {
        error = exec_inode(i, path, argv, argc, envp, envc, scripts);
        inode_put(i);
    }
    return error;
}

int exec(struct inode *i, const char *path, char **argv, u64 argc, char **envp, u64 envc) {
    return exec_inode(i, path, argv, argc, envp, envc, 0);
}

int exec_path(const char *path, char **argv, u64 argc, char **envp, u64 envc) {
    return exec_nested(path, argv, argc, envp, envc, 0);
}
