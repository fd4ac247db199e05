/* Volumes: what changed in them leaves by the debug console as a tar when the first process has ended well.
 *
 * It is an incremental archive as GNU tar writes them ("Dumpdir" in its manual): each directory's entry, of type D, lists its
 * names, Y for one that follows, N for a file that is as it came, D for a directory, each ended by NUL.  A name that came and is
 * not in the list is gone.  Names begin at the root, without its slash.  Sockets and new devices stay behind.
 */
#include "volume.h"

#include "inode.h"
#include "kernel.h"
#include "mm/slab.h"
#include "platform/console.h"
#include "tar.h"
#include "time/time.h"

#define MAX_VOLUMES 64
#define STREAM 3                        /* the debug console */

static struct { const char *path; struct inode *inode; } volume[MAX_VOLUMES];
static u32 count;
static bool leave_always;

/* Files with several names, and the first one under which each has gone out. */
struct sent { const struct inode *inode; struct sent *next; char path[]; };
static struct sent *sent;

static char path[PATH_MAX];             /* of what is going out, without the first slash */
static u8 buffer[PAGE_SIZE];

/* What goes out is collected, for it goes a page at a time. */
static u8 waiting[PAGE_SIZE] __attribute__((aligned(4096)));
static u64 collected;

void volume_add(const char *name, struct inode *i) {
    if (count == MAX_VOLUMES)
        panic("more than %d volumes", MAX_VOLUMES);
    volume[count].path = name;
    volume[count++].inode = i;
}

void volumes_leave_always(void) { leave_always = true; }

static void flush(void) {
    plat_console_write(STREAM, waiting, collected);
    collected = 0;
}

static void put(const void *from, u64 n) {
    for (u64 done = 0, part; done < n; done += part) {
        part = MIN(n - done, sizeof waiting - collected);
        memcpy(waiting + collected, (const u8 *)from + done, part);
        if ((collected += part) == sizeof waiting)
            flush();
    }
}

static void pad(u64 n) {
    static const u8 zeros[TAR_BLOCK];

    put(zeros, ROUND_UP(n, TAR_BLOCK) - n);
}

static void octal(char *field, u64 width, u64 value) {
    field[--width] = 0;
    while (width) {
        field[--width] = (char)('0' + (value & 7));
        value >>= 3;
    }
}

/* Octal, or for what is too large GNU tar's big-endian number. */
static void number(char *field, u64 width, u64 value) {
    if (value < 1UL << 3 * (width - 1)) {
        octal(field, width, value);
        return;
    }
    for (u64 i = width; i-- > 1; value >>= 8)
        field[i] = (char)value;
    field[0] = (char)0x80;
}

static void put_header(struct tar_header *h, char type, const struct inode *i, u64 size) {
    u64 sum = 0;

    h->type = type;
    octal(h->mode, sizeof h->mode, i ? i->mode & 07777 : 0);
    number(h->uid, sizeof h->uid, i ? i->uid : 0);
    number(h->gid, sizeof h->gid, i ? i->gid : 0);
    number(h->size, sizeof h->size, size);
    number(h->mtime, sizeof h->mtime, i ? i->mtime / NS_PER_S : 0);
    memcpy(h->magic, "ustar  ", sizeof h->magic);
    memset(h->checksum, ' ', sizeof h->checksum);
    for (u64 n = 0; n < sizeof *h; n++)
        sum += ((u8 *)h)[n];
    octal(h->checksum, sizeof h->checksum - 1, sum);
    put(h, sizeof *h);
}

/* A name that the header has no room for goes before it. */
static void put_name(char *field, u64 width, const char *name, char type) {
    u64 n = strlen(name);

    memcpy(field, name, MIN(n, width));
    if (n <= width)
        return;
    struct tar_header h = {.name = "././@LongLink"};
    put_header(&h, type, NULL, n + 1);
    put(name, n + 1);
    pad(n + 1);
}

static void put_entry(char type, const struct inode *i, const char *target, u64 size) {
    struct tar_header h = {0};

    put_name(h.target, sizeof h.target, target, 'K');
    put_name(h.name, sizeof h.name, path, 'L');
    put_header(&h, type, i, size);
}

static bool is_as_it_came(const struct inode *i) {
    if (i->ctime != i->came)
        return false;
    return !is_regular(i) || inode_is_image(i);
}

static bool goes(const struct inode *i) { return is_regular(i) || is_link(i) || (i->mode & S_IFMT) == S_IFIFO; }

static struct sent *sent_before(const struct inode *i) {
    struct sent *s = i->links > 1 ? sent : NULL;

    while (s && s->inode != i)
        s = s->next;
    return s;
}

static void remember(const struct inode *i) {
    struct sent *s = i->links > 1 ? kmalloc(sizeof *s + strlen(path) + 1) : NULL;

    if (!s)
        return;                         /* without memory its names become files of their own */
    s->inode = i;
    memcpy(s->path, path, strlen(path));
    s->next = sent;
    sent = s;
}

static void put_file(struct inode *i) {
    const struct sent *before = sent_before(i);

    if (before) {
        put_entry('1', i, before->path, 0);
        return;
    }
    remember(i);
    put_entry(is_link(i) ? '2' : is_regular(i) ? '0' : '6', i, is_link(i) ? i->target : "", is_regular(i) ? i->size : 0);
    if (!is_regular(i))
        return;
    for (u64 at = 0; at < i->size; at += PAGE_SIZE)
        put(buffer, (u64)inode_read(i, buffer, PAGE_SIZE, at));
    pad(i->size);
}

/* In the list of its directory; 0: it stays behind.  What is mounted there is no part of the volume. */
static char mark_of(const struct dirent *d, bool in_place) {
    if (d->inode->mounted || d->inode->in_proc)
        return 0;
    if (is_directory(d->inode))
        return 'D';
    if (in_place && d->came && is_as_it_came(d->inode))
        return 'N';
    return goes(d->inode) ? 'Y' : 0;
}

static void put_list(const struct inode *i, bool in_place) {
    u64 size = 1;

    for (const struct dirent *d = i->first; d; d = d->next)
        size += mark_of(d, in_place) ? strlen(d->name) + 2 : 0;
    put_entry('D', i, "", size);
    for (const struct dirent *d = i->first; d; d = d->next) {
        char mark = mark_of(d, in_place);
        if (mark) {
            put(&mark, 1);
            put(d->name, strlen(d->name) + 1);
        }
    }
    put("", 1);
    pad(size);
}

/* Of the way down: what comes next there, how long its path is, and whether it and all above it have the names that they came with. */
struct level { const struct dirent *next; u64 length; bool in_place; };

static bool put_next(struct level **deepest) {
    struct level *l = *deepest;
    const struct dirent *d = l->next;
    char mark = mark_of(d, l->in_place);

    l->next = d->next;
    if (!mark || mark == 'N')
        return true;
    if (l->length + strlen(d->name) + 2 > sizeof path)
        return false;
    path[l->length] = '/';
    copy_string(path + l->length + 1, d->name, sizeof path - l->length - 1);
    if (mark == 'D') {
        *++*deepest = (struct level){d->inode->first, strlen(path), l->in_place && d->came};
        put_list(d->inode, (*deepest)->in_place);
    } else {
        put_file(d->inode);
    }
    return true;
}

/* Each level has at least two bytes of the path. */
static bool put_tree(const struct inode *top) {
    struct level *levels = kmalloc((PATH_MAX / 2 + 1) * sizeof *levels), *l = levels;

    if (!levels)
        return false;
    *l = (struct level){top->first, strlen(path), true};
    put_list(top, true);
    while (l >= levels)
        if (!l->next)
            l--;
        else if (!put_next(&l))
            break;
    kfree(levels);
    return l < levels;
}

void volumes_leave(bool well) {
    static const u8 zeros[TAR_BLOCK];

    if (!well && !leave_always)
        return;
    for (u32 v = 0; v < count; v++) {
        struct inode *i = volume[v].inode;
        copy_string(path, volume[v].path[1] ? volume[v].path + 1 : ".", sizeof path);
        if (is_directory(i) ? !put_tree(i) : false) {
            print("volume %s: not written back, a path in it is too long or there is no memory", volume[v].path);
            return;                     /* without its end the archive is not taken */
        }
        if (goes(i) && !is_as_it_came(i))
            put_file(i);
    }
    if (!count)
        return;
    put(zeros, sizeof zeros);
    put(zeros, sizeof zeros);
    flush();
}
