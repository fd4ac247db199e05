/* execve and execveat. */
#include "fs/file.h"
#include "kernel.h"
#include "mm/slab.h"
#include "mm/vm.h"
#include "process.h"
#include "syscall/syscalls.h"

#define MAX_ARGUMENTS 8192
#define STRING_MAX (32 * PAGE_SIZE)     /* of one of them, with its end */
#define ARGUMENTS_SIZE (2UL << 20)

/* A NULL-terminated vector of the program's: how long it is, or -errno. */
static i64 vector_length(u64 vector) {
    u64 at = 1;

    for (u64 n = 0; vector && n < MAX_ARGUMENTS; n++) {
        if (copy_in(&at, vector + n * sizeof at, sizeof at))
            return -EFAULT;
        if (!at)
            return (i64)n;
    }
    return vector ? -E2BIG : 0;
}

/* One of its strings, in memory of its own; `*total` counts the bytes of all. */
static i64 copy_string_at(char **to, u64 place, u64 *total) {
    u64 at;
    i64 length = copy_in(&at, place, sizeof at) ? -EFAULT : user_string_length(at, STRING_MAX);

    if (length < 0)
        return length == -ENAMETOOLONG ? -E2BIG : length;
    if ((*total += (u64)length + 1) > ARGUMENTS_SIZE)
        return -E2BIG;
    if (!(*to = kmalloc((u64)length + 1)))
        return -ENOMEM;
    length = copy_in_string(*to, at, (u64)length + 1);
    return length == -ENAMETOOLONG ? -E2BIG : length;
}

/* How many, or -errno; what there is of them is to be freed in any case. */
static i64 copy_vector(char ***to, u64 vector, u64 *total) {
    i64 count = vector_length(vector), error = 0;

    if (count < 0)
        return count;
    if (!(*to = kmalloc(((u64)count + 1) * sizeof **to)))
        return -ENOMEM;
    for (i64 n = 0; n < count && error >= 0; n++)
        error = copy_string_at(*to + n, vector + (u64)n * sizeof vector, total);
    return error < 0 ? error : count;
}

static void free_vector(char **v) {
    for (char **s = v; s && *s; s++)
        kfree(*s);
    kfree(v);
}

static i64 run(struct inode *i, const char *name, u64 argv, u64 envp) {
    char **args = NULL, **env = NULL;
    u64 total = 0;
    i64 argc = copy_vector(&args, argv, &total);
    i64 envc = argc < 0 ? argc : copy_vector(&env, envp, &total);
    i64 error = envc < 0 ? envc : exec(i, &(struct command){name, args, env, (u64)argc, (u64)envc});

    free_vector(args);
    free_vector(env);
    if (!error)
        frame_of(current)->vector = 0;          /* every register of the new program counts */
    return error;
}

/* A path from a descriptor is called /dev/fd/3/path. */
static i64 run_at(struct inode *i, i32 dirfd, const char *path, u64 argv, u64 envp) {
    u64 size = strlen(path) + sizeof "/dev/fd/1234567890/";
    char *name;
    i64 error;

    if (dirfd == AT_FDCWD || *path == '/')
        return run(i, path, argv, envp);
    if (!(name = kmalloc(size)))
        return -ENOMEM;
    format(name, size, *path ? "/dev/fd/%d/%s" : "/dev/fd/%d", dirfd, path);
    error = run(i, name, argv, envp);
    kfree(name);
    return error;
}

i64 sys_execveat(i32 dirfd, u64 path, u64 argv, u64 envp, u32 flags) {
    struct inode *i;
    struct path p;
    i64 error;

    if (flags & ~(u32)(AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW))
        return -EINVAL;
    if ((error = path_find(dirfd, path, flags, &i)))
        return error;
    if (is_link(i))
        error = -ELOOP;
    if (!error && !(error = path_begin(&p, dirfd, path))) {
        error = run_at(i, dirfd, p.name, argv, envp);
        path_end(&p);
    }
    inode_put(i);
    return error;
}

i64 sys_execve(u64 path, u64 argv, u64 envp) { return sys_execveat(AT_FDCWD, path, argv, envp, 0); }
