/* Page faults, by what is there already when a page is touched:
 *
 *               page tables    the page                                      what is below the kernel
 *   refault     stand          was used before                               warm
 *   fault       new            was used before, where it is not the first    warm
 *   cold        new            never used, if there are so many              cold: somebody has to find memory for it
 *   filefault   new            of a file, in memory                          warm
 */
#include "lat.h"

#define MAP_SHARED 1
#define MAP_PRIVATE_ANONYMOUS 0x22
#define MADV_DONTNEED 4
#define WINDOW 256UL            /* pages that are mapped at a time */
#define MAPPED 16UL             /* pages of one turn of "mmap" */
#define USED 512UL              /* more pages than the operations before "cold" have given back */

static u8 *map_with(u64 pages, u64 prot, u64 flags, i32 file) {
    return (u8 *)SURE(SYS_mmap, NULL, pages * PAGE, prot, flags, file, 0);
}

u8 *map(u64 pages) { return map_with(pages, PROT_READ_WRITE, MAP_PRIVATE_ANONYMOUS, -1); }

static void unmap(u8 *at, u64 pages) { SURE(SYS_munmap, at, pages * PAGE); }

void touch(u8 *at, u64 pages) {
    for (u64 i = 0; i < pages; i++)
        *(volatile u8 *)(at + i * PAGE) = 1;
}

static void look(const u8 *at, u64 pages) {
    for (u64 i = 0; i < pages; i++)
        (void)*(const volatile u8 *)(at + i * PAGE);
}

static u64 at_most_a_window(u64 n) { return n < WINDOW ? n : WINDOW; }

/* Each window is new: so are its page tables. */
u64 new_tables(u64 n) {
    u64 spent = 0;

    for (u64 pages; n; n -= pages) {
        pages = at_most_a_window(n);
        u8 *at = map(pages);
        u64 start = cycles();
        touch(at, pages);
        spent += cycles() - start;
        unmap(at, pages);
    }
    return spent;
}

u64 warm_fault(u64 n) {
    u64 spent = 0;
    u8 *at = map(WINDOW);

    touch(at, WINDOW);
    for (u64 pages; n; n -= pages) {
        pages = at_most_a_window(n);
        SURE(SYS_madvise, at, WINDOW * PAGE, MADV_DONTNEED);
        u64 start = cycles();
        touch(at, pages);
        spent += cycles() - start;
    }
    unmap(at, WINDOW);
    return spent;
}

/* Nothing goes back before all have been touched, and first as many are touched as went back earlier, the last call's among them. */
u64 cold_fault(u64 n) {
    static u64 used = USED;
    u8 *first = map(used), *at = map(n);

    touch(first, used);
    u64 start = cycles();
    touch(at, n);
    u64 spent = cycles() - start;
    unmap(at, n);
    unmap(first, used);
    used += n + WINDOW;
    return spent;
}

/* The file is in memory whole before the first of its pages is mapped. */
u64 file_fault(u64 n) {
    u64 spent = 0;
    i32 file = (i32)SURE(SYS_memfd_create, "lat", 0);

    for (u64 i = 0; i < WINDOW; i++)
        SURE(SYS_pwrite64, file, "", 1, i * PAGE);
    for (u64 pages; n; n -= pages) {
        pages = at_most_a_window(n);
        u8 *at = map_with(pages, PROT_READ, MAP_SHARED, file);
        u64 start = cycles();
        look(at, pages);
        spent += cycles() - start;
        unmap(at, pages);
    }
    SURE(SYS_close, file);
    return spent;
}

u64 map_unmap(u64 n) {
    u64 start = cycles();

    while (n--) {
        u8 *at = map(MAPPED);
        touch(at, MAPPED);
        unmap(at, MAPPED);
    }
    return cycles() - start;
}
