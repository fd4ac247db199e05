/* tmpfs: the contents of files.
 *
 *   pages[i] = 0        the bytes of the image that the root file system brought, zero behind its end
 *   pages[i] = address  a page of its own, made when it is first mapped or written
 */
#include "inode.h"

#include "device.h"
#include "file.h"
#include "inotify.h"
#include "ipc/pipe.h"
#include "ipc/sysv.h"
#include "kernel.h"
#include "mm/code.h"
#include "mm/page.h"
#include "mm/slab.h"
#include "mm/vm.h"
#include "task/ids.h"
#include "time/time.h"

#define DIRECTORY_SIZE 4096     /* what stat says; ext4's smallest */
#define TMPFS_DEVICE 1
#define PROC_DEVICE 2

struct inode *root_inode;
static u64 next_number = 1;

/* Sockets and what has no type have no other way in than the descriptor that came with them. */
static int open_nothing(struct file *f) {
    (void)f;
    return -ENXIO;
}

static const struct file_ops unopenable_ops = {.open = open_nothing};

static const struct file_ops *ops_of(u32 mode) {
    switch (mode & S_IFMT) {
    case S_IFDIR: return &directory_ops;
    case S_IFIFO: return &fifo_ops;
    case S_IFREG: return &regular_ops;
    case S_IFCHR: return &node_ops;
    default: return &unopenable_ops;
    }
}

struct inode *inode_new(u32 mode) {
    struct inode *i = kmalloc(sizeof *i);

    if (!i)
        return NULL;
    i->number = next_number++;
    i->mode = mode;
    i->refs = 1;
    i->uid = own_uid();
    i->gid = own_gid();
    i->atime = i->mtime = i->ctime = calendar_ns();
    i->came = NEVER;
    i->ops = ops_of(mode);
    return i;
}

void inodes_init(void) {
    root_inode = inode_new(S_IFDIR | 0755);
    root_inode->parent = root_inode;
    root_inode->links = 2;
}

/* Half of the memory may hold files. */
static u64 pages_held;

u64 tmpfs_pages_left(void) { return pages_total() / 2 - MIN(pages_held, pages_total() / 2); }

static void drop_pages(struct inode *i, u64 from) {
    for (u64 n = from; n < i->slots; n++)
        if (i->pages[n]) {
            page_put(i->pages[n]);
            i->pages[n] = 0;
            pages_held--;
            i->held -= n << PAGE_SHIFT >= i->image_size;
        }
}

/* Gives what is to be released next: a directory's parent, for a row of them may be long; a code's file. */
static struct inode *release(struct inode *i) {
    struct inode *next = NULL;

    if (!i->links && is_regular(i) && i->code) {        /* which holds a reference to the inode: it goes with its last name */
        i->refs++;
        code_forget(i);
        i->refs--;
    }
    if (i->links || i->refs)
        return NULL;
    inotify_forget(i);
    if (is_regular(i) && i->segment)
        shm_forget(i->segment);
    if (is_directory(i)) {
        next = i->parent;
    } else if (is_regular(i)) {
        drop_pages(i, 0);
        kfree(i->pages);
        if (i->made)
            next = i->made->file;
        kfree(i->made);
    } else if (is_link(i)) {
        kfree(i->target);
        if (i->jump)
            inode_put(i->jump);
    }
    kfree(i->was);
    kfree(i);
    return next;
}

void inode_put(struct inode *i) {
    while (i) {
        i->refs--;
        i = release(i);
    }
}

void inode_unnamed(struct inode *i) {
    i->links--;
    struct inode *next = release(i);
    if (next)
        inode_put(next);
}

void inode_set_parent(struct inode *i, struct inode *parent) {
    struct inode *old = i->parent;

    inode_get(parent);
    i->parent = parent;
    if (old)
        inode_put(old);
}

static bool make_slots(struct inode *i, u64 count) {
    u64 want = MAX(count, i->slots * 2);

    if (count <= i->slots)
        return true;
    u64 *pages = kgrow(i->pages, i->slots * sizeof *pages, MAX(want, 8) * sizeof *pages);
    if (!pages)
        return false;
    i->pages = pages;
    i->slots = MAX(want, 8);
    return true;
}

u64 inode_page(struct inode *i, u64 index) {
    u64 at = index << PAGE_SHIFT;

    if (!make_slots(i, index + 1))
        return 0;
    if (i->pages[index] || i->made)
        return i->pages[index];
    bool ours = at < i->image_size;     /* what the root file system brought must run even where all is full */
    u8 *page = ours || tmpfs_pages_left() ? page_alloc_user() : NULL;
    if (!page)
        return 0;
    pages_held++;
    i->held += at >= i->image_size;
    u64 n = at < i->image_size ? MIN(PAGE_SIZE, i->image_size - at) : 0;
    memcpy(page, i->image + at, n);
    memset(page + n, 0, PAGE_SIZE - n);
    return i->pages[index] = physical(page);
}

bool inode_adopt(struct inode *i, u64 index, u64 page) {
    if (!make_slots(i, index + 1))
        return false;
    page_get(page);
    pages_held++;
    i->held++;
    i->pages[index] = page;
    return true;
}

i64 inode_read(struct inode *i, void *to, u64 n, u64 at) {
    u64 done = 0;

    n = at < i->size ? MIN(n, i->size - at) : 0;
    while (done < n) {
        u64 pos = at + done, index = pos >> PAGE_SHIFT, part = MIN(n - done, PAGE_SIZE - (pos & PAGE_MASK));
        u8 *into = (u8 *)to + done;
        if (index < i->slots && i->pages[index]) {
            memcpy(into, (u8 *)direct(i->pages[index]) + (pos & PAGE_MASK), part);
        } else {
            u64 have = pos < i->image_size ? MIN(part, i->image_size - pos) : 0;
            memcpy(into, i->image + pos, have);
            memset(into + have, 0, part - have);
        }
        done += part;
    }
    return (i64)n;
}

bool inode_is_image(const struct inode *i) {
    if (i->size != i->image_size)
        return false;
    for (u64 n = 0; n < i->slots && n << PAGE_SHIFT < i->size; n++)
        if (i->pages[n] && memcmp(direct(i->pages[n]), i->image + (n << PAGE_SHIFT), MIN(PAGE_SIZE, i->size - (n << PAGE_SHIFT))))
            return false;
    return true;
}

i64 inode_write(struct inode *i, const void *from, u64 n, u64 at) {
    u64 done = 0;

    code_forget(i);
    while (done < n) {
        u64 pos = at + done, part = MIN(n - done, PAGE_SIZE - (pos & PAGE_MASK));
        u64 page = inode_page(i, pos >> PAGE_SHIFT);
        if (!page)
            break;
        memcpy((u8 *)direct(page) + (pos & PAGE_MASK), (const u8 *)from + done, part);
        done += part;
        i->size = MAX(i->size, pos + part);
    }
    if (done)
        i->mtime = i->ctime = calendar_ns();
    return done || !n ? (i64)done : -ENOSPC;
}

int inode_truncate(struct inode *i, u64 size) {
    code_forget(i);
    if (size < i->size) {
        if (size & PAGE_MASK) {                 /* bytes behind the end read as zero if the file grows again */
            u64 page = inode_page(i, size >> PAGE_SHIFT);
            if (!page)
                return -ENOSPC;
            memset((u8 *)direct(page) + (size & PAGE_MASK), 0, PAGE_SIZE - (size & PAGE_MASK));
        }
        mappings_truncate(i, size);
        drop_pages(i, ROUND_UP(size, PAGE_SIZE) >> PAGE_SHIFT);
        i->image_size = MIN(i->image_size, size);
    }
    i->size = size;
    i->mtime = i->ctime = calendar_ns();
    return 0;
}

/* The memory, or what the image has in its place. */
static u64 room_of(const struct inode *i) {
    return is_directory(i) ? DIRECTORY_SIZE : is_regular(i) ? ROUND_UP(i->image_size, PAGE_SIZE) + i->held * PAGE_SIZE : 0;
}

void inode_fill_stat(const struct inode *i, struct stat *s) {
    u64 size = is_directory(i) ? DIRECTORY_SIZE : i->size;
    bool nameless = (i->mode & S_IFMT) == S_IFIFO || (i->mode & S_IFMT) == S_IFSOCK;    /* and counted as one all the same */

    *s = (struct stat){
        .dev = i->in_proc ? PROC_DEVICE : TMPFS_DEVICE, .ino = i->number, .nlink = i->links || !nameless ? i->links : 1, .mode = i->mode, .uid = i->uid, .gid = i->gid,
        .rdev = i->rdev, .size = (i64)size, .blksize = PAGE_SIZE,
        .blocks = (i64)(room_of(i) / 512),
        .atime = timespec_of(i->atime), .mtime = timespec_of(i->mtime), .ctime = timespec_of(i->ctime),
    };
}
