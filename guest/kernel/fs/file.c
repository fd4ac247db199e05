/* Open files and the table of their numbers. */
#include "file.h"

#include "inotify.h"
#include "ipc/poll.h"
#include "kernel.h"
#include "lock.h"
#include "mm/slab.h"
#include "mm/vm.h"
#include "task/process.h"

static i64 regular_read(struct file *f, u8 *to, u64 n, u64 at) { return inode_read(f->inode, to, n, at); }
static i64 regular_write(struct file *f, const u8 *from, u64 n, u64 at) { return inode_write(f->inode, from, n, at); }
static i64 directory_read(struct file *f, u8 *to, u64 n, u64 at) {
    (void)f, (void)to, (void)n, (void)at;
    return -EISDIR;
}

const struct file_ops regular_ops = {.read = regular_read, .write = regular_write};
const struct file_ops directory_ops = {.read = directory_read};
const struct file_ops path_ops;         /* O_PATH: a place, with nothing to be done there */

struct file *file_open(struct inode *inode, u32 flags) {
    struct file *f = kmalloc(sizeof *f);

    if (!f)
        return NULL;
    inode_get(inode);
    *f = (struct file){.refs = 1, .flags = flags, .inode = inode, .ops = inode->ops};
    return f;
}

struct file *file_nameless(const struct file_ops *ops, void *own, u32 flags) {
    struct inode *i = own ? inode_new(0600) : NULL;
    struct file *f = i ? file_open(i, flags) : NULL;

    if (i)
        inode_put(i);
    if (!f) {
        kfree(own);
        return NULL;
    }
    f->ops = ops;
    f->own = own;
    return f;
}

void file_discard(struct file *f) {
    inode_put(f->inode);
    kfree(f);
}

static void end(struct file *f) {
    flock_drop(f);
    if (f->ops != &path_ops)
        inotify_tell(f->inode, writable(f) ? IN_CLOSE_WRITE : IN_CLOSE_NOWRITE);
    epoll_forget(f);
    if (f->ops->release)
        f->ops->release(f);
    inode_put(f->inode);
    kfree(f);
}

/* One after the other: a socket may end with others in it, which end with others in them. */
void file_put(struct file *f) {
    static struct file *ending;
    static bool busy;

    if (--f->refs)
        return;
    f->next = ending;
    ending = f;
    if (busy)
        return;
    for (busy = true; (f = ending); end(f))
        ending = f->next;
    busy = false;
}

struct files *files_create(void) {
    struct files *files = kmalloc(sizeof *files);

    if (files)
        files->refs = 1;
    return files;
}

struct files *files_copy(const struct files *old) {
    struct files *new = files_create();

    if (!new)
        return NULL;
    for (i32 fd = 0; fd < MAX_FILES; fd++)
        if ((new->file[fd] = old->file[fd]))
            new->file[fd]->refs++;
    memcpy(new->close_on_exec, old->close_on_exec, sizeof new->close_on_exec);
    return new;
}

void files_put(struct files *files) {
    if (--files->refs)
        return;
    for (i32 fd = 0; fd < MAX_FILES; fd++)
        if (files->file[fd]) {
            locks_drop(files->file[fd]->inode, files);
            file_put(files->file[fd]);
        }
    kfree(files);
}

struct file *file_at(i32 fd) {
    return fd >= 0 && fd < MAX_FILES ? current->process->files->file[fd] : NULL;
}

i32 fd_limit(void) { return (i32)MIN(current->process->limits[RLIMIT_NOFILE].soft, (u64)MAX_FILES); }

i32 fd_install(struct file *f, i32 lowest, bool close_on_exec) {
    struct files *files = current->process->files;

    for (i32 fd = lowest, limit = fd_limit(); fd < limit; fd++)
        if (!files->file[fd]) {
            files->file[fd] = f;
            fd_set_close_on_exec(fd, close_on_exec);
            return fd;
        }
    file_put(f);
    return -EMFILE;
}

int fd_install_pair(struct file *a, struct file *b, bool close_on_exec, i32 fds[2]) {
    fds[0] = a && b ? fd_install(a, 0, close_on_exec) : -ENOMEM;
    fds[1] = fds[0] >= 0 ? fd_install(b, 0, close_on_exec) : -EMFILE;
    if (fds[1] >= 0)
        return 0;
    if (fds[0] >= 0)
        fd_close(fds[0]);
    else if (a && b)
        file_put(b);
    else if (a || b)
        file_put(a ? a : b);
    return -EMFILE;
}

i64 copy_out_pair(u64 to, const i32 fds[2]) {
    if (!copy_out(to, fds, 2 * sizeof *fds))
        return 0;
    fd_close(fds[0]);
    fd_close(fds[1]);
    return -EFAULT;
}

int fd_close(i32 fd) {
    struct file *f = file_at(fd);

    if (!f)
        return -EBADF;
    current->process->files->file[fd] = NULL;
    locks_drop(f->inode, current->process->files);
    file_put(f);
    return 0;
}

void fd_set_close_on_exec(i32 fd, bool on) {
    u64 *word = &current->process->files->close_on_exec[fd / 64], bit = 1UL << fd % 64;

    *word = on ? *word | bit : *word & ~bit;
}

bool fd_closes_on_exec(i32 fd) { return current->process->files->close_on_exec[fd / 64] >> fd % 64 & 1; }
