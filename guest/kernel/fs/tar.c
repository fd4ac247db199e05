/* The root file system, out of a tar archive in GNU or ustar format.  The
 * contents stay where they are: a file's pages are made when it is used.
 *
 *   0 name 100 │ mode 8 │ uid 8 │ gid 8 │ size 12 │ mtime 12 │ checksum 8 │ type │ linkname 100 │ magic 6 … 345 prefix 155
 */
#include "tar.h"

#include "device.h"
#include "inode.h"
#include "kernel.h"
#include "mm/slab.h"
#include "platform.h"
#include "platform/console.h"
#include "time/time.h"

#define BAD_ROOTFS 125

static struct blob archive;
static u64 at;                          /* of the header being read */
static char name[PATH_MAX], target[PATH_MAX];

static void refuse(const char *why) __attribute__((noreturn));
static void refuse(const char *why) {
    print("rootfs: %s, at offset %lu of the archive", why, at);
    plat_exit(BAD_ROOTFS);
}

/* Octal text; or, with the first bit set, a big-endian binary number. */
static u64 number(const char *field, u64 width) {
    u64 value = 0;

    if (field[0] & 0x80) {
        for (u64 i = 1; i < width; i++)
            value = value << 8 | (u8)field[i];
        return value;
    }
    for (u64 i = 0; i < width && field[i]; i++) {
        if (field[i] == ' ')
            continue;
        if (field[i] < '0' || field[i] > '7')
            refuse("a number that is not octal");
        value = value << 3 | (u64)(field[i] - '0');
    }
    return value;
}

static void check(const struct tar_header *h) {
    const u8 *bytes = (const u8 *)h;
    u64 sum = 0;

    for (u64 i = 0; i < TAR_BLOCK; i++)
        sum += i >= offsetof(struct tar_header, checksum) && i < offsetof(struct tar_header, type) ? ' ' : bytes[i];
    if (memcmp(h->magic, "ustar", 5) != 0)
        refuse("no tar header");
    if (sum != number(h->checksum, sizeof h->checksum))
        refuse("wrong checksum");
}

static void long_string(char *to, const u8 *data, u64 size) {
    if (size >= PATH_MAX)
        refuse("a name that is too long");
    memcpy(to, data, size);
    to[size] = 0;
}

static void header_string(char *to, const char *field, u64 width) {
    u64 n = strnlen(field, width);

    memcpy(to, field, n);
    to[n] = 0;
}

static void header_name(const struct tar_header *h) {
    u64 n = 0;

    if (memcmp(h->magic, "ustar\0", 6) == 0 && h->prefix[0]) {  /* GNU's magic ends in a space, and has no prefix */
        n = strnlen(h->prefix, sizeof h->prefix);
        memcpy(name, h->prefix, n);
        name[n++] = '/';
    }
    header_string(name + n, h->name, sizeof h->name);
}

static void describe(struct inode *i, const struct tar_header *h) {
    i->mode = (i->mode & S_IFMT) | (number(h->mode, sizeof h->mode) & 07777);
    i->uid = (u32)number(h->uid, sizeof h->uid);
    i->gid = (u32)number(h->gid, sizeof h->gid);
}

static u32 kind_of(char type) {
    switch (type) {
    case 0: case '0': case '7': return S_IFREG;
    case '2': return S_IFLNK;
    case '3': return S_IFCHR;
    case '4': return S_IFBLK;
    case '5': return S_IFDIR;
    case '6': return S_IFIFO;
    default: refuse("an entry that is no file, link, directory, pipe or device");
    }
}

static struct inode *make(const struct tar_header *h, const u8 *data, u64 size) {
    struct inode *i = inode_new(kind_of(h->type));

    if (!i)
        refuse("more than fits into memory");
    if (is_regular(i)) {
        i->image = data;
        i->size = i->image_size = size;
    } else if (is_link(i)) {
        i->size = strlen(target);
        if (!i->size)
            refuse("a symbolic link to nowhere");
        if (!(i->target = kmalloc(i->size + 1)))
            refuse("more than fits into memory");
        memcpy(i->target, target, i->size);
    } else if (h->type == '3' || h->type == '4') {
        i->rdev = (u32)DEVICE(number(h->major, sizeof h->major), number(h->minor, sizeof h->minor));
    }
    describe(i, h);
    return i;
}

/* Where a hard link points: a name that came before. */
static struct inode *linked(void) {
    struct inode *i;

    if (name_lookup(root_inode, target, false, &i))
        refuse("a hard link to nothing");
    if (is_directory(i))
        refuse("a hard link to a directory");
    return i;
}

static void set_times(struct inode *i, u64 mtime) { i->atime = i->mtime = i->ctime = i->came = mtime; }

static void entry(const struct tar_header *h, const u8 *data, u64 size) {
    char last[NAME_MAX + 1];
    struct inode *directory, *i;
    u64 mtime = number(h->mtime, sizeof h->mtime) * NS_PER_S, n = strlen(name);

    while (n && name[n - 1] == '/')
        name[--n] = 0;
    if (!n || strcmp(name, ".") == 0) {
        describe(root_inode, h);
        set_times(root_inode, mtime);
        return;
    }
    if (name_parent(root_inode, name, &directory, last))
        refuse("a name whose directory is missing");
    if (!last[0] || strcmp(last, ".") == 0 || strcmp(last, "..") == 0)
        refuse("a name that is none");
    struct dirent *old = directory_find(directory, last, strlen(last));
    if (old && is_directory(old->inode) && h->type == '5') {
        describe(i = old->inode, h);
        inode_get(i);
    } else {
        if (old && is_directory(old->inode))
            refuse("a file where a directory is");
        if (old)
            directory_remove(old);
        i = h->type == '1' ? linked() : make(h, data, size);
        u64 before = directory->mtime;
        if (directory_add(directory, last, strlen(last), i))
            refuse("more than fits into memory");
        directory->last->came = true;
        set_times(directory, before);           /* unpacking is no change of the directory */
    }
    if (h->type != '1')
        set_times(i, mtime);
    inode_put(i);
    inode_put(directory);
}

void tar_unpack(struct blob blob) {
    bool has_name = false, has_target = false;

    archive = blob;
    for (at = 0; at + TAR_BLOCK <= archive.size;) {
        const struct tar_header *h = (const struct tar_header *)(archive.data + at);
        if (!h->name[0] && !h->checksum[0])
            return;                             /* a block of zeros ends it */
        check(h);
        u64 size = number(h->size, sizeof h->size), data = at + TAR_BLOCK;
        if (size > archive.size - data)
            refuse("truncated");
        if (h->type == 'L') {
            long_string(name, archive.data + data, size);
            has_name = true;
        } else if (h->type == 'K') {
            long_string(target, archive.data + data, size);
            has_target = true;
        } else {
            if (!has_name)
                header_name(h);
            if (!has_target)
                header_string(target, h->target, sizeof h->target);
            entry(h, archive.data + data, size);
            has_name = has_target = false;
        }
        at = data + ROUND_UP(size, TAR_BLOCK);
    }
    if (at != archive.size)
        refuse("truncated");
}
