/* tmpfs: names.  Each directory keeps its names in the order of their making;
 * one hash table over all of them finds a name quickly. */
#include "inode.h"
#include "kernel.h"
#include "mm/slab.h"
#include "time/time.h"

#define BUCKETS 1024

static struct dirent *buckets[BUCKETS];

static u64 bucket_of(const struct inode *directory, const char *name, u64 length) {
    u64 h = directory->number * 0x9e3779b97f4a7c15UL;

    for (u64 i = 0; i < length; i++)
        h = (h ^ (u8)name[i]) * 0x100000001b3UL;
    return h >> 32 & (BUCKETS - 1);
}

struct dirent *directory_find(struct inode *directory, const char *name, u64 length) {
    struct dirent *d;

    if (directory->refresh)
        directory->refresh(directory, name, length);
    d = buckets[bucket_of(directory, name, length)];
    while (d && !(d->directory == directory && strlen(d->name) == length && memcmp(d->name, name, length) == 0))
        d = d->hash_next;
    return d;
}

int directory_add(struct inode *directory, const char *name, u64 length, struct inode *inode) {
    struct dirent *d = kmalloc(sizeof *d), **bucket = &buckets[bucket_of(directory, name, length)];
    char *copy = kmalloc(length + 1);

    if (!d || !copy) {
        kfree(d);
        kfree(copy);
        return -ENOSPC;
    }
    memcpy(copy, name, length);
    *d = (struct dirent){.name = copy, .inode = inode, .directory = directory, .cookie = ++directory->next_cookie,
                         .previous = directory->last, .hash_next = *bucket};
    *bucket = d;
    *(directory->last ? &directory->last->next : &directory->first) = d;
    directory->last = d;
    directory->count++;
    directory->mtime = directory->ctime = calendar_ns();
    inode->links++;
    if (is_directory(inode)) {          /* its own "." and "..", which are not kept as names */
        inode->links++;
        inode_set_parent(inode, directory);
        directory->links++;
    }
    return 0;
}

/* What is open says where it was: most likely by the name that went first. */
void directory_leaves(const struct dirent *d) {
    char path[512];

    if (!d->inode->refs || d->inode->was || is_directory(d->inode) || !path_of(d, path, sizeof path))
        return;
    if ((d->inode->was = kmalloc(strlen(path) + 1)))
        memcpy(d->inode->was, path, strlen(path));
}

void directory_remove(struct dirent *d) {
    struct inode *directory = d->directory;
    struct dirent **at = &buckets[bucket_of(directory, d->name, strlen(d->name))];

    while (*at != d)
        at = &(*at)->hash_next;
    *at = d->hash_next;
    *(d->previous ? &d->previous->next : &directory->first) = d->next;
    *(d->next ? &d->next->previous : &directory->last) = d->previous;
    directory_leaves(d);
    directory->count--;
    directory->mtime = directory->ctime = d->inode->ctime = calendar_ns();
    if (is_directory(d->inode)) {
        d->inode->links--;
        directory->links--;
    }
    inode_unnamed(d->inode);
    kfree(d->name);
    kfree(d);
}

bool is_within(const struct inode *inner, const struct inode *outer) {
    while (inner != outer && inner != root_inode)
        inner = inner->parent;
    return inner == outer;
}

void inode_set_read_only(struct inode *top, bool read_only) {
    top->read_only = read_only;
    for (u64 n = 0; is_directory(top) && n < BUCKETS; n++)
        for (struct dirent *d = buckets[n]; d; d = d->hash_next)
            if (!d->inode->in_proc && is_within(d->directory, top))
                d->inode->read_only = read_only;
}

struct dirent *directory_name_of(const struct inode *i) {
    for (u64 n = 0; n < BUCKETS; n++)
        for (struct dirent *d = buckets[n]; d; d = d->hash_next)
            if (d->inode == i)
                return d;
    return NULL;
}
