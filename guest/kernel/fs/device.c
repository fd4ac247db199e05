/* /dev: null, zero, full, random and urandom; the names of what a process has open; a place for shared memory. */
#include "device.h"

#include "inode.h"
#include "kernel.h"
#include "mm/slab.h"

static struct inode *dev;
static u64 random_state;

/* splitmix64 (Steele, Lea, Flood 2014): the same seed, the same run. */
static u64 random_word(void) {
    u64 z = random_state += 0x9e3779b97f4a7c15UL;

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9UL;
    z = (z ^ z >> 27) * 0x94d049bb133111ebUL;
    return z ^ z >> 31;
}

void random_bytes(u8 *to, u64 n) {
    while (n) {
        u64 word = random_word(), part = MIN(n, sizeof word);
        memcpy(to, &word, part);
        to += part;
        n -= part;
    }
}

static i64 null_read(struct file *f, u8 *to, u64 n, u64 at) {
    (void)f, (void)to, (void)n, (void)at;
    return 0;
}
static i64 null_write(struct file *f, const u8 *from, u64 n, u64 at) {
    (void)f, (void)from, (void)at;
    return (i64)n;
}
static i64 zero_read(struct file *f, u8 *to, u64 n, u64 at) {
    (void)f, (void)at;
    memset(to, 0, n);
    return (i64)n;
}
static i64 full_write(struct file *f, const u8 *from, u64 n, u64 at) {
    (void)f, (void)from, (void)n, (void)at;
    return -ENOSPC;
}
static i64 random_read(struct file *f, u8 *to, u64 n, u64 at) {
    (void)f, (void)at;
    random_bytes(to, n);
    return (i64)n;
}

static const struct file_ops null_ops = {.read = null_read, .write = null_write, .stream = true};
static const struct file_ops zero_ops = {.read = zero_read, .write = null_write, .stream = true};
static const struct file_ops full_ops = {.read = zero_read, .write = full_write, .stream = true, .whole = true};
static const struct file_ops random_ops = {.read = random_read, .write = null_write, .stream = true};

bool is_zero_device(const struct inode *i) { return i->ops == &zero_ops; }

#define MAX_DEVICES 16

static struct inode *known[MAX_DEVICES];
static u32 known_count;

/* A node becomes the device when it is first opened: before, the devices need not be there. */
static int node_open(struct file *f) {
    u32 n = 0;

    while (n < known_count && known[n]->rdev != f->inode->rdev)
        n++;
    if (n == known_count)
        return -ENXIO;
    f->inode->device = known[n]->device;
    f->ops = f->inode->ops = known[n]->ops;
    return f->ops->open ? f->ops->open(f) : 0;
}

const struct file_ops node_ops = {.open = node_open};

struct inode *device_new(u32 mode, u32 number, const struct file_ops *ops, void *device) {
    struct inode *i = inode_new(mode);

    if (!i)
        panic("no memory for devices");
    if (number && known_count < MAX_DEVICES) {
        inode_get(i);
        known[known_count++] = i;
    }
    i->rdev = number;
    i->ops = ops;
    i->device = device;
    return i;
}

void device_add(const char *name, struct inode *i) {
    struct dirent *old = directory_find(dev, name, strlen(name));

    if (old)
        directory_remove(old);
    if (directory_add(dev, name, strlen(name), i))
        panic("no memory for devices");
}

static void add(const char *name, u32 minor, const struct file_ops *ops) {
    struct inode *i = device_new(S_IFCHR | 0666, DEVICE(1, minor), ops, NULL);

    device_add(name, i);
    inode_put(i);
}

/* A directory that the root file system brought stays. */
static void add_place(const char *name, u32 mode, const char *target) {
    struct dirent *old = directory_find(dev, name, strlen(name));
    struct inode *i = old && is_directory(old->inode) ? NULL : device_new(mode, 0, NULL, NULL);

    if (!i)
        return;
    i->ops = is_directory(i) ? &directory_ops : NULL;
    if (target) {
        if (!(i->target = kmalloc(strlen(target) + 1)))
            panic("no memory for devices");
        i->size = strlen(target);
        memcpy(i->target, target, i->size);
    }
    device_add(name, i);
    inode_put(i);
}

void devices_init(void) {
    struct dirent *d = directory_find(root_inode, "dev", 3);

    random_state = option("seed", 1);
    if (d && is_directory(d->inode)) {
        dev = d->inode;
    } else {
        if (d)
            directory_remove(d);
        dev = inode_new(S_IFDIR | 0755);
        directory_add(root_inode, "dev", 3, dev);
        inode_put(dev);
    }
    add("null", 3, &null_ops);
    add("zero", 5, &zero_ops);
    add("full", 7, &full_ops);
    add("random", 8, &random_ops);
    add("urandom", 9, &random_ops);
    add_place("fd", S_IFLNK | 0777, "/proc/self/fd");
    add_place("stdin", S_IFLNK | 0777, "/proc/self/fd/0");
    add_place("stdout", S_IFLNK | 0777, "/proc/self/fd/1");
    add_place("stderr", S_IFLNK | 0777, "/proc/self/fd/2");
    add_place("shm", S_IFDIR | 01777, NULL);
}
