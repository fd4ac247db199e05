/* Files by what they are: the inodes of tmpfs, and their names. */
#ifndef INODE_H
#define INODE_H

#include "linux.h"
#include "types.h"

struct code;
struct file_ops;
struct inode;
struct pipe;
struct segment;
struct socket;

struct dirent {
    char *name;
    struct inode *inode, *directory;
    u64 cookie;                         /* the position of readdir: grows with each new name */
    bool came;                          /* with the root file system, and is what it was */
    struct dirent *next, *previous;     /* in the directory, by cookie */
    struct dirent *hash_next;
};

struct inode {
    u64 number;
    u32 mode, links, refs;              /* links: names; refs: open files, mappings, working directories */
    u32 uid, gid, rdev;
    bool in_proc, read_only, mounted;   /* as on a file system of its own that is mounted here, read-only or not */
    u64 size;
    u64 atime, mtime, ctime;            /* nanoseconds since 1970 */
    u64 came;                           /* ctime when the root file system brought it; NEVER: it did not */
    const struct file_ops *ops;
    void *device;
    char *was;                          /* a path that it had while it was open; NULL: it has it still */
    union {
        struct {                        /* S_IFREG: a page is made from the image at its first use */
            u64 *pages, slots;          /* physical addresses, 0 = not yet */
            const u8 *image;            /* what the root file system brought */
            u64 image_size;
            u64 held;                   /* how many of the pages hold nothing of the image */
            struct segment *segment;    /* of System V's, that it is (shm.c) */
            struct inode *code;         /* what the platform made of its executable pages (mm/code.h) */
            struct code *made;          /* this is such code */
        };
        struct {                        /* S_IFDIR */
            struct dirent *first, *last;
            struct inode *parent;       /* counted: it stays as long as one can go there */
            u64 next_cookie, count;
            /* In /proc: bring a name up to date before it is looked at, or with NULL all of them. */
            void (*refresh)(struct inode *, const char *name, u64 length);
        };
        struct {                        /* S_IFLNK */
            char *target;
            struct inode *jump;         /* in /proc: where it leads, whatever it is called */
        };
        struct pipe *pipe;              /* S_IFIFO; NULL while no process has it open */
        struct socket *bound;           /* S_IFSOCK: whom the name means; NULL: nobody any more */
    };
};

#define NEVER (~0UL)

extern struct inode *root_inode;

static inline bool is_directory(const struct inode *i) { return (i->mode & S_IFMT) == S_IFDIR; }
static inline bool is_regular(const struct inode *i) { return (i->mode & S_IFMT) == S_IFREG; }
static inline bool is_link(const struct inode *i) { return (i->mode & S_IFMT) == S_IFLNK; }

/* inode.c */
struct inode *inode_new(u32 mode);
static inline void inode_get(struct inode *i) { i->refs++; }
void inode_put(struct inode *);
void inode_unnamed(struct inode *);             /* a name of it is gone */
void inode_set_parent(struct inode *, struct inode *parent);    /* of a directory */
u64 inode_page(struct inode *, u64 index);      /* physical address of a file's page; 0 = no memory */
bool inode_adopt(struct inode *, u64 index, u64 physical);      /* that page is the file's as well; false: no memory */
i64 inode_read(struct inode *, void *to, u64 n, u64 at);
i64 inode_write(struct inode *, const void *from, u64 n, u64 at);
int inode_truncate(struct inode *, u64 size);
void inode_fill_stat(const struct inode *, struct stat *);
bool inode_is_image(const struct inode *);      /* a file's contents are what the root file system brought */
void inodes_init(void);
u64 tmpfs_pages_left(void);

/* directory.c: 0 or -errno */
struct dirent *directory_find(struct inode *directory, const char *name, u64 length);
int directory_add(struct inode *directory, const char *name, u64 length, struct inode *);
void directory_remove(struct dirent *);
void directory_leaves(const struct dirent *);           /* the inode loses this name */
struct dirent *directory_name_of(const struct inode *); /* a name of it; NULL: it has none */
bool is_within(const struct inode *inner, const struct inode *outer);   /* directories; each is within itself */
void inode_set_read_only(struct inode *, bool);         /* and all that is below */

/* name.c: `*found` comes with a reference */
int name_lookup(struct inode *start, const char *path, bool follow, struct inode **found);
int name_parent(struct inode *start, const char *path, struct inode **directory, char last[NAME_MAX + 1]);
i64 name_of(struct inode *directory, char *to, u64 size);
bool path_of(const struct dirent *, char *to, u64 size);

#endif
