/* Memory: mappings that are made, split, moved, shared and taken away.  Nothing here
 * is ever writable and executable. */
#include "linux.h"

#define PROT_EXEC 4
#define NORESERVE 0x4000
#define POPULATE 0x8000
#define MAYMOVE 1
#define MREMAP_FIXED 2

static char buffer[PAGE], vector[16];

static char *map(void *at, u64 pages, i32 protection, i32 flags, i64 fd, u64 offset) {
    return (char *)syscall(SYS_mmap, at, pages * PAGE, protection, flags, fd, offset);
}

static void unmap(char *at, u64 pages) {
    syscall(SYS_munmap, at, pages * PAGE);
}

/* Whether it can be read and written, as the system calls see it. */
static char access_of(char *page) {
    i64 zero = syscall(SYS_open, "/dev/zero", O_RDWR, 0);
    struct { char *base; u64 n; } v = {page + 8, 1};
    static struct pipe p;
    if (!p.write)
        make_pipe(&p);
    i32 readable = syscall(SYS_writev, p.write, &v, 1) == 1;
    if (readable)
        awaits(p.read);
    i32 writable = readable && syscall(SYS_read, zero, page + 8, 1) == 1;
    closes(zero);
    return writable ? 'w' : readable ? 'r' : '-';
}

static void show_access(const char *what, char *at, i32 pages) {
    char line[40];
    for (i32 i = 0; i < pages; i++)
        line[i] = access_of(at + i * (i64)PAGE);
    print("%s: %s\n", what, text(line, pages));
}

static void dies(const char *what, volatile char *at, i32 write) {
    if (fork() == 0) {
        if (write)
            *at = 1;
        else
            (void)*at;
        quit(0);
    }
    reap(what, -1);
}

static void mappings(void) {
    print("-- mappings\n");
    char *p = map(NULL, 8, R_W, PRIVATE_ANONYMOUS, -1, 0);
    show_access("new", p, 8);
    RESULT(syscall(SYS_munmap, p + 2 * PAGE, PAGE));
    RESULT(syscall(SYS_mprotect, p + 4 * PAGE, PAGE, PROT_READ));
    RESULT(syscall(SYS_mprotect, p + 6 * PAGE, 100, PROT_NONE));
    show_access("hole, read, none", p, 8);
    dies("read of a hole", p + 2 * PAGE, 0);
    dies("write of what is for reading", p + 4 * PAGE, 1);
    dies("read of what is for reading", p + 4 * PAGE, 0);
    dies("read of what is for nothing", p + 6 * PAGE, 0);
    dies("write", p + 7 * PAGE, 1);
    RESULT(syscall(SYS_mprotect, p, 8 * PAGE, PROT_READ));      /* up to the hole */
    show_access("as far as possible", p, 8);
    RESULT(syscall(SYS_mprotect, p + 1, PAGE, PROT_READ));
    RESULT(syscall(SYS_mprotect, p, 0, PROT_READ));
    RESULT(syscall(SYS_mprotect, p, PAGE, 64));
    p[7 * PAGE] = 7;
    CHECK(map(p + 3 * PAGE, 5, R_W, PRIVATE_ANONYMOUS | FIXED, -1, 0) == p + 3 * PAGE);
    CHECK(p[7 * PAGE] == 0);
    show_access("fixed", p, 8);
    RESULT(map(p + PAGE, 2, R_W, PRIVATE_ANONYMOUS | NOREPLACE, -1, 0));
    CHECK(map(p + 2 * PAGE, 1, R_W, PRIVATE_ANONYMOUS | NOREPLACE, -1, 0) == p + 2 * PAGE);
    char *elsewhere = map(p, 1, R_W, PRIVATE_ANONYMOUS, -1, 0);
    CHECK(elsewhere != p && elsewhere > p - (1UL << 40));       /* a hint is but a hint */
    RESULT(syscall(SYS_munmap, p, 8 * PAGE));
    show_access("gone", p, 8);
    char *q = map(p, 1, R_W, PRIVATE_ANONYMOUS, -1, 0);
    CHECK(q == p);                                              /* and is taken where nothing is */
    RESULT(syscall(SYS_munmap, p + 4 * PAGE, PAGE));
    RESULT(syscall(SYS_munmap, 0x7ffffffff000, 2 * PAGE));
    RESULT(map((void *)0x7ffffffff000, 2, R_W, PRIVATE_ANONYMOUS | FIXED, -1, 0));
    RESULT(map(NULL, 1UL << 36, R_W, PRIVATE_ANONYMOUS, -1, 0));
    RESULT(syscall(SYS_mmap, NULL, ~0UL, R_W, PRIVATE_ANONYMOUS, -1, 0));
    RESULT(map(NULL, 1, R_W, ANONYMOUS | SHARED | PRIVATE, -1, 0));
    char *large = map(NULL, 1UL << 24, PROT_NONE, PRIVATE_ANONYMOUS | NORESERVE, -1, 0);
    CHECK((i64)large > 0);                      /* room, with nothing in it, is free */
    RESULT(syscall(SYS_mprotect, large + (1UL << 35), PAGE, R_W));
    large[1UL << 35] = 1;
    CHECK(large[1UL << 35] == 1);
    RESULT(syscall(SYS_munmap, large, PAGE << 24));
    RESULT(syscall(SYS_mlock, p, PAGE));
    RESULT(syscall(SYS_munlock, p, PAGE));
}

static void moving(void) {
    print("-- moving\n");
    char *p = map(NULL, 8, R_W, PRIVATE_ANONYMOUS, -1, 0);
    for (i32 i = 0; i < 8; i++)
        p[i * (i64)PAGE] = (char)('a' + i);
    RESULT(syscall(SYS_mremap, p, 2 * PAGE, 4 * PAGE, 0, 0));   /* no room */
    char *q = (char *)syscall(SYS_mremap, p, 2 * PAGE, 4 * PAGE, MAYMOVE, 0);
    CHECK(q != p && q[0] == 'a' && q[PAGE] == 'b' && q[2 * PAGE] == 0);
    show_access("there", q, 4);
    show_access("here", p, 8);
    CHECK((char *)syscall(SYS_mremap, p + 2 * PAGE, 2 * PAGE, 2 * PAGE, MAYMOVE | MREMAP_FIXED, p) == p);
    CHECK(p[0] == 'c' && p[PAGE] == 'd' && p[4 * PAGE] == 'e');
    show_access("moved down", p, 8);
    CHECK((char *)syscall(SYS_mremap, p, PAGE, 2 * PAGE, MAYMOVE | MREMAP_FIXED, p + 5 * PAGE) == p + 5 * PAGE);
    CHECK(p[5 * PAGE] == 'c' && p[6 * PAGE] == 0 && p[7 * PAGE] == 'h');
    RESULT(syscall(SYS_mremap, p + 5 * PAGE, 2 * PAGE, 2 * PAGE, MAYMOVE | MREMAP_FIXED, p + 6 * PAGE));
    RESULT(syscall(SYS_mremap, p + 5 * PAGE, PAGE, PAGE, MREMAP_FIXED, p));
    RESULT(syscall(SYS_mremap, p + 1, PAGE, PAGE, MAYMOVE, 0));
    RESULT(syscall(SYS_mremap, p + 5 * PAGE, PAGE, 0, MAYMOVE, 0));
    CHECK((char *)syscall(SYS_mremap, p + 4 * PAGE, 4 * PAGE, PAGE, 0, 0) == p + 4 * PAGE);
    show_access("shrunk", p, 8);
    CHECK((char *)syscall(SYS_mremap, p + 4 * PAGE, PAGE, 3 * PAGE, 0, 0) == p + 4 * PAGE);
    CHECK(p[4 * PAGE] == 'e' && p[5 * PAGE] == 0);
    unmap(p, 8);
}

static void sharing(void) {
    print("-- sharing\n");
    char *s = map(NULL, 4, R_W, SHARED_ANONYMOUS, -1, 0), *p = map(NULL, 4, R_W, PRIVATE_ANONYMOUS, -1, 0);
    s[0] = p[0] = 1;
    if (fork() == 0) {
        if (fork() == 0) {
            s[PAGE] = 3, p[0] = 3;
            s[2 * PAGE] = p[PAGE];
            quit(0);
        }
        syscall(SYS_wait4, -1, NULL, 0, NULL);
        s[0] = 2, p[0] += 1;
        syscall(SYS_munmap, s, PAGE);
        syscall(SYS_mprotect, s + PAGE, PAGE, PROT_READ);
        s[3 * PAGE] = p[0];
        quit(0);
    }
    reap("child", -1);
    CHECK(s[0] == 2 && s[PAGE] == 3 && s[2 * PAGE] == 0 && s[3 * PAGE] == 2 && p[0] == 1);
    show_access("shared", s, 4);
    char *t = (char *)syscall(SYS_mremap, s, 4 * PAGE, 8 * PAGE, MAYMOVE, 0);
    CHECK(t[0] == 2 && t[3 * PAGE] == 2);
    dies("more than there was", t + 5 * PAGE, 0);

    i64 fd = syscall(SYS_open, "file", O_RDWR | O_CREAT, 0644);
    for (i32 i = 0; i < 3; i++) {
        memset(buffer, '0' + i, PAGE);
        syscall(SYS_write, fd, buffer, i < 2 ? PAGE : 10UL);
    }
    char *f = map(NULL, 3, R_W, SHARED, fd, 0), *c = map(NULL, 2, R_W, PRIVATE, fd, PAGE);
    CHECK(f[0] == '0' && f[2 * PAGE + 9] == '2' && f[2 * PAGE + 10] == 0 && c[0] == '1' && c[PAGE] == '2');
    RESULT(map(NULL, 1, R_W, SHARED, fd, 1));
    c[0] = 'c', f[PAGE + 1] = 'f', f[2 * PAGE + 20] = 'x';
    CHECK(f[PAGE] == '1' && c[1] == '1');       /* the copy was made before */
    f[2 * PAGE] = 'g';
    CHECK(c[PAGE] == 'g');                      /* and here none was */
    RESULT(syscall(SYS_msync, f, 3 * PAGE, 4));
    RESULT(syscall(SYS_msync, f, 3 * PAGE, 5));
    RESULT(syscall(SYS_msync, f + 1, PAGE, 4));
    struct stat st;
    RESULT(syscall(SYS_fstat, fd, &st));
    print("size %ld\n", st.size);
    RESULT(syscall(SYS_pread64, fd, buffer, PAGE, 2 * PAGE));
    CHECK(buffer[0] == 'g');
    RESULT(syscall(SYS_madvise, c, 2 * PAGE, 4));
    CHECK(c[0] == '1' && c[1] == 'f');          /* what was private is dropped: the file again */
    CHECK(syscall(SYS_read, 0, c, 1) == 0);
    RESULT(syscall(SYS_pread64, fd, c, 5, 0));  /* the kernel writes into a copy, too */
    CHECK(c[0] == '0' && f[PAGE] == '1');
    closes(fd);
    fd = syscall(SYS_open, "file", O_RDONLY, 0);
    RESULT(map(NULL, 1, R_W, SHARED, fd, 0));
    char *r = map(NULL, 1, PROT_READ, SHARED, fd, 0);
    RESULT(syscall(SYS_mprotect, r, PAGE, R_W));
    r = map(NULL, 1, PROT_READ, PRIVATE, fd, 0);
    RESULT(syscall(SYS_mprotect, r, PAGE, R_W));
    r[0] = 'r';
    RESULT(syscall(SYS_pread64, fd, buffer, 1, 0));
    CHECK(buffer[0] == '0' && r[0] == 'r');
    closes(fd);
    fd = syscall(SYS_open, "file", O_WRONLY, 0);
    RESULT(map(NULL, 1, PROT_READ, PRIVATE, fd, 0));
    closes(fd);
    fd = syscall(SYS_open, ".", O_RDONLY, 0);
    RESULT(map(NULL, 1, PROT_READ, PRIVATE, fd, 0));
    closes(fd);
    fd = syscall(SYS_open, "/dev/zero", O_RDWR, 0);
    r = map(NULL, 2, R_W, PRIVATE, fd, 0);
    CHECK(r[0] == 0 && (r[PAGE] = 5) == 5);
    closes(fd);
    fd = syscall(SYS_memfd_create, "name", 1);
    RESULT(syscall(SYS_ftruncate, fd, 2 * PAGE));
    r = map(NULL, 2, R_W, SHARED, fd, 0);
    r[PAGE] = 'm';
    RESULT(syscall(SYS_pread64, fd, buffer, 1, PAGE));
    CHECK(buffer[0] == 'm');
    closes(fd);
}

static void advice(void) {
    print("-- advice\n");
    char *p = map(NULL, 8, R_W, PRIVATE_ANONYMOUS, -1, 0);
    for (i32 i = 0; i < 4; i++)
        p[i * (i64)PAGE] = 1;
    RESULT(syscall(SYS_mincore, p, 4 * PAGE, vector));
    print("%d%d%d%d\n", vector[0] & 1, vector[1] & 1, vector[2] & 1, vector[3] & 1);
    RESULT(syscall(SYS_madvise, p + PAGE, PAGE, 4));
    RESULT(syscall(SYS_mincore, p, 4 * PAGE, vector));
    print("%d%d%d%d\n", vector[0] & 1, vector[1] & 1, vector[2] & 1, vector[3] & 1);
    CHECK(p[0] == 1 && p[PAGE] == 0 && p[2 * PAGE] == 1);
    RESULT(syscall(SYS_mincore, p + 1, PAGE, vector));
    RESULT(syscall(SYS_mincore, p, PAGE, 8));
    RESULT(syscall(SYS_madvise, p + 2 * PAGE, PAGE, 8));
    CHECK(p[2 * PAGE] == 1 || p[2 * PAGE] == 0);        /* free: either */
    p[2 * PAGE] = 5;
    CHECK(p[2 * PAGE] == 5);
    for (i32 a = 0; a < 4; a++)
        RESULT(syscall(SYS_madvise, p, 4 * PAGE, a));
    RESULT(syscall(SYS_madvise, p, 4 * PAGE, 9999));
    RESULT(syscall(SYS_madvise, p + 1, PAGE, 4));
    RESULT(syscall(SYS_madvise, p, 0, 4));
    unmap(p + 6 * PAGE, 1);
    RESULT(syscall(SYS_madvise, p, 8 * PAGE, 4));
    RESULT(syscall(SYS_mincore, p, 8 * PAGE, vector));
    char *q = map(NULL, 4, R_W, PRIVATE_ANONYMOUS | POPULATE, -1, 0);
    RESULT(syscall(SYS_mincore, q, 4 * PAGE, vector));
    print("%d%d%d%d\n", vector[0] & 1, vector[1] & 1, vector[2] & 1, vector[3] & 1);
}

static void heap(void) {
    print("-- heap\n");
    char *old = (char *)syscall(SYS_brk, 0), *page = (char *)(((u64)old + PAGE - 1) & ~(PAGE - 1));
    CHECK((char *)syscall(SYS_brk, page + 3 * PAGE + 10) == page + 3 * PAGE + 10);
    CHECK(page[4 * PAGE - 1] == 0);
    page[0] = 'h', page[3 * PAGE] = 'i';
    if (fork() == 0) {
        CHECK((char *)syscall(SYS_brk, 0) == page + 3 * PAGE + 10 && page[0] == 'h');
        syscall(SYS_brk, page);
        quit(0);
    }
    reap("child", -1);
    CHECK(page[3 * PAGE] == 'i');
    CHECK((char *)syscall(SYS_brk, page + PAGE) == page + PAGE);
    show_access("shrunk", page, 4);
    CHECK((char *)syscall(SYS_brk, page + 4 * PAGE) == page + 4 * PAGE && page[3 * PAGE] == 0 && page[0] == 'h');
    char *obstacle = map(page + 6 * PAGE, 1, R_W, PRIVATE_ANONYMOUS | NOREPLACE, -1, 0);
    CHECK(obstacle == page + 6 * PAGE);
    CHECK((char *)syscall(SYS_brk, page + 8 * PAGE) == page + 4 * PAGE);
    CHECK((char *)syscall(SYS_brk, 1UL << 62) == page + 4 * PAGE);

    /* code: written, then executed, never both */
    u8 *code = (u8 *)map(NULL, 1, R_W, PRIVATE_ANONYMOUS, -1, 0);
    memcpy(code, "\xb8\x2a\0\0\0\xc3", 6);      /* mov $42, %eax; ret */
    if (fork() == 0)
        quit(((i32 (*)(void))code)());
    reap("data", -1);
    RESULT(syscall(SYS_mprotect, code, PAGE, PROT_READ | PROT_EXEC));
    if (fork() == 0)
        quit(((i32 (*)(void))code)());
    reap("code", -1);
    dies("write of code", (char *)code, 1);
}

int main(int argc, char **argv) {
    (void)argc, (void)argv;
    begin();
    mappings();
    moving();
    sharing();
    advice();
    heap();
    return 42;
}
