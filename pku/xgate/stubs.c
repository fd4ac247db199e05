/* Where the code goes that the kernel writes for a program: pages of the program's, just below the file whose text jumps there.
 *
 *   │ stubs → room │ guard │ file: headers │ text │ …
 *
 * Their distance from the text is the same wherever the file is mapped, as long as there is room (mm/code.c).
 */
#include "fs/inode.h"
#include "linux.h"
#include "mm/code.h"
#include "mm/vm.h"
#include "task/process.h"
#include "xgate.h"

#define LEAST_ROOM (16 * PAGE_SIZE)
#define GUARD PAGE_SIZE
#define FARTHEST (1UL << 30)    /* a 32-bit jump reaches twice as far */

static u64 text, room;
static u64 start, next, end;    /* start 0: none yet */

static u64 room_for(u64 size) { return MAX(LEAST_ROOM, ROUND_UP(size / 32, PAGE_SIZE)); }

u64 plat_room_for_stubs(u64 size) { return room_for(size) + GUARD; }

void stubs_begin(u64 va, u64 size) {
    text = va;
    room = room_for(size);
    start = next = end = 0;
}

/* The lowest range of those that continue each other from the text downwards and map the same file. */
static struct vma *bottom_of_file(struct mm *mm, u64 va) {
    struct vma *v = vma_find(mm, va);

    while (v->inode && v->previous && v->previous->end == v->start && v->previous->inode &&
           file_of(v->previous->inode) == file_of(v->inode))
        v = v->previous;
    return v;
}

static bool make_room(void) {
    struct mm *mm = current->process->mm;

    for (struct vma *v = bottom_of_file(mm, text); v && v->start > MMAP_BOTTOM + GUARD + room && v->start + FARTHEST > text; v = v->previous) {
        u64 at = v->start - GUARD - room;
        if (v->previous && v->previous->end > at)
            continue;
        if (vma_add(mm, &(struct vma){.start = at, .end = at + room, .prot = PROT_READ | PROT_EXEC}))
            return false;
        start = next = at;
        end = at + room;
        return true;
    }
    return false;
}

u64 stub_space(u64 bytes) {
    if ((!start && !make_room()) || end - next < bytes)
        return 0;
    next += bytes;
    return next - bytes;
}

struct stubs stubs_end(bool wanted) {
    u64 used = start && wanted ? ROUND_UP(next, PAGE_SIZE) : start;

    if (start)
        vma_remove(current->process->mm, used, end);
    return (struct stubs){start, used - start};
}
