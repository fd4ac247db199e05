/* From a path to an inode. */
#include "file.h"
#include "inode.h"
#include "kernel.h"
#include "mm/slab.h"
#include "proc/proc.h"
#include "task/ids.h"
#include "task/process.h"

#define MAX_LINKS 40            /* as Linux's MAXSYMLINKS */

struct walk { struct inode *at; u32 links; };

static void move(struct walk *w, struct inode *to) {
    inode_get(to);
    inode_put(w->at);
    w->at = to;
}

static int walk_path(struct walk *, const char *path, bool follow, char *last);

/* Where absolute paths begin, and ".." ends. */
static struct inode *own_root(void) {
    struct inode *root = current ? current->process->root : NULL;

    return root ? root : root_inode;
}

/* May we look for names there? */
static int enter(const struct inode *directory) {
    return !is_directory(directory) ? -ENOTDIR : proc_is_gone(directory) ? -ESRCH : inode_may(directory, MAY_EXEC);
}

/* One component, and what it links to. */
static int walk_name(struct walk *w, const char *name, u64 n, bool follow) {
    if (n > NAME_MAX)
        return -ENAMETOOLONG;
    int error = enter(w->at);
    if (error)
        return error;
    if (n == 1 && name[0] == '.')
        return 0;
    if (n == 2 && name[0] == '.' && name[1] == '.') {
        if (w->at != own_root())
            move(w, w->at->parent);
        return 0;
    }
    struct dirent *d = directory_find(w->at, name, n);
    if (!d)
        return -ENOENT;
    if (!is_link(d->inode) || !follow) {
        move(w, d->inode);
        return 0;
    }
    if (++w->links > MAX_LINKS)
        return -ELOOP;
    if (d->inode->jump) {
        if (!proc_may_follow(d->inode))
            return -EACCES;
        move(w, d->inode->jump);
        return 0;
    }
    return walk_path(w, d->inode->target, true, NULL);
}

/* Go along `path`; with `last`, stop before its last component and give that. */
static int walk_path(struct walk *w, const char *path, bool follow, char *last) {
    if (*path == '/')
        move(w, own_root());
    for (;;) {
        while (*path == '/')
            path++;
        u64 n = 0;
        while (path[n] && path[n] != '/')
            n++;
        const char *rest = path + n;
        while (*rest == '/')
            rest++;
        if (last && !*rest) {
            if (n > NAME_MAX)
                return -ENAMETOOLONG;
            memcpy(last, path, n);
            last[n] = 0;
            return enter(w->at);
        }
        if (!n)
            return 0;
        bool more = path[n] == '/';             /* a trailing slash asks for a directory, so links are followed */
        int error = walk_name(w, path, n, follow || more);
        if (error)
            return error;
        if (more && !is_directory(w->at))
            return -ENOTDIR;
        path += n;
    }
}

static int walk_from(struct inode *start, const char *path, bool follow, char *last, struct inode **found) {
    struct walk w = {start, 0};

    if (!*path)
        return -ENOENT;
    inode_get(start);
    int error = walk_path(&w, path, follow, last);
    if (error)
        inode_put(w.at);
    else
        *found = w.at;
    return error;
}

int name_lookup(struct inode *start, const char *path, bool follow, struct inode **found) {
    return walk_from(start, path, follow, NULL, found);
}

int name_parent(struct inode *start, const char *path, struct inode **directory, char last[NAME_MAX + 1]) {
    return walk_from(start, path, true, last, directory);
}

/* The absolute path of a directory.  Length with the final 0, or -ERANGE. */
i64 name_of(struct inode *directory, char *to, u64 size) {
    u64 at = size;

    if (size < 2)
        return -ERANGE;
    to[--at] = 0;
    while (directory != own_root() && directory != root_inode) {
        struct dirent *d = directory->parent->first;
        while (d && d->inode != directory)
            d = d->next;
        if (!d)
            return -ENOENT;             /* removed */
        u64 n = strlen(d->name);
        if (n + 1 > at)
            return -ERANGE;
        at -= n;
        memcpy(to + at, d->name, n);
        to[--at] = '/';
        directory = directory->parent;
    }
    if (at == size - 1)
        to[--at] = '/';
    memmove(to, to + at, size - at);
    return (i64)(size - at);
}

/* Of whatever has this name. */
bool path_of(const struct dirent *d, char *to, u64 size) {
    i64 n = name_of(d->directory, to, size);

    if (n < 0 || (u64)n + strlen(d->name) + 1 > size)
        return false;
    if (n > 2)
        to[n - 1] = '/';
    else
        n = 1;                          /* the root has its slash already */
    copy_string(to + n, d->name, size - (u64)n);
    return true;
}
