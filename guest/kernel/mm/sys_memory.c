/* Changing the address space. */
#include "code.h"
#include "fs/device.h"
#include "fs/file.h"
#include "fs/inode.h"
#include "kernel.h"
#include "page.h"
#include "platform/keys.h"
#include "syscall/syscalls.h"
#include "task/process.h"
#include "vm.h"

#define PROTS (PROT_READ | PROT_WRITE | PROT_EXEC)
#define KEYS 16

static struct mm *mine(void) { return current->process->mm; }
static bool in_user(u64 at, u64 size) { return size <= plat_user_top() && at <= plat_user_top() - size; }

/* RLIMIT_AS: would it be more than there may be, with so much at `at` in the place of what is there? */
static bool is_too_much(u64 at, u64 size) {
    u64 limit = current->process->limits[RLIMIT_AS].soft;

    return limit != RLIM_INFINITY && mm_size(mine(), 0, USER_TOP) - mm_size(mine(), at, at + size) + size > limit;
}

static int check_file(const struct file *f, u32 prot, bool shared) {
    if (!f)
        return -EBADF;
    if (!is_regular(f->inode) && !is_zero_device(f->inode))
        return -ENODEV;
    return !readable(f) || (shared && prot & PROT_WRITE && !writable(f)) ? -EACCES : 0;
}

static i64 pick_address(u64 at, u64 size, u32 flags, u64 room_below) {
    struct mm *mm = mine();

    if (flags & (MAP_FIXED | MAP_FIXED_NOREPLACE)) {
        if (at & PAGE_MASK)
            return -EINVAL;
        if (!in_user(at, size))
            return -ENOMEM;
        if (at < MMAP_BOTTOM)
            return -EPERM;
        if (flags & MAP_FIXED_NOREPLACE && !vma_is_free(mm, at, at + size))
            return -EEXIST;
        return (i64)at;
    }
    at = ROUND_UP(at, PAGE_SIZE);
    if (at >= MMAP_BOTTOM && in_user(at, size) && vma_is_free(mm, at, at + size))
        return (i64)at;
    at = vma_gap(mm, size + room_below);
    return at ? (i64)(at + room_below) : -ENOMEM;
}

static void populate(u64 at, u64 size, u32 prot) {
    for (u64 va = at; va < at + size; va += PAGE_SIZE)
        if (!user_page(mine(), va, prot & PROT_WRITE ? ACCESS_WRITE : ACCESS_READ))
            return;                     /* there is no memory, or the file ends here */
}

/* What processes share without a file is a file without a name. */
static struct inode *shared_memory(u64 size) {
    struct inode *i = inode_new(S_IFREG | 0777);

    if (i)
        i->size = size;
    return i;
}

static int check_flags(u64 size, u32 flags, u64 offset) {
    u32 type = flags & MAP_TYPE;

    if (!size || offset & PAGE_MASK || !type || type > (flags & MAP_ANONYMOUS ? MAP_PRIVATE : MAP_SHARED_VALIDATE))
        return -EINVAL;
    return ROUND_UP(size, PAGE_SIZE) - 1 >= USER_TOP ? -ENOMEM : 0;         /* or so large that nothing is left of it */
}

i64 sys_mmap(u64 at, u64 size, u32 prot, u32 flags, i32 fd, u64 offset) {
    bool shared = (flags & MAP_TYPE) != MAP_PRIVATE, exec = prot & PROT_EXEC;
    struct inode *inode = NULL;
    struct mm *mm = mine();
    struct file *f = flags & MAP_ANONYMOUS ? NULL : file_at(fd);
    int error = check_flags(size, flags, offset);

    if (!error && !(flags & MAP_ANONYMOUS))
        error = check_file(f, prot, shared);
    if (error)
        return error;
    size = ROUND_UP(size, PAGE_SIZE);
    if (f && !is_zero_device(f->inode)) {
        inode = f->inode;
    } else if (!(flags & MAP_NORESERVE) && prot & PROT_WRITE && size >> PAGE_SHIFT > pages_total()) {
        return -ENOMEM;                 /* more than there ever was */
    }
    if ((error = check_rights(prot, shared)))
        return error;
    i64 where = pick_address(at, size, flags, inode && !shared ? plat_room_for_stubs(size) : 0);
    if (where < 0)
        return where;
    at = (u64)where;
    if (is_too_much(at, size))
        return -ENOMEM;
    if (flags & MAP_FIXED && (error = vma_remove(mm, at, at + size)))
        return error;
    if (inode && shared && writable(f))         /* now, or after an mprotect() */
        code_forget(inode);
    if (inode)
        inode_get(inode);
    else if (shared && !(inode = shared_memory(size)))
        return -ENOMEM;
    error = vma_add(mm, &(struct vma){.start = at, .end = at + size, .prot = prot & PROTS & ~(exec ? PROT_EXEC : 0),
                                      .shared = shared, .sealed = shared && f && !writable(f), .inode = inode,
                                      .offset = f && inode == f->inode ? offset : 0});
    if (inode)
        inode_put(inode);
    if (!error && exec)                         /* only now, when it is there, can the platform look at its pages */
        error = (f && inode && !shared ? code_make : make_executable)(mm, at, size, prot & PROTS);
    if (error)
        vma_remove(mm, at, at + size);
    if (!error && flags & MAP_POPULATE)
        populate(at, size, prot);
    return error ? error : where;
}

i64 sys_munmap(u64 at, u64 size) {
    size = ROUND_UP(size, PAGE_SIZE);
    if (at & PAGE_MASK || !size || !in_user(at, size))
        return -EINVAL;
    return vma_remove(mine(), at, at + size);
}

static int change(u64 at, u64 size, u32 prot, int key, bool becomes_executable) {
    if (!becomes_executable)
        return vma_protect(mine(), at, at + size, prot, key);
    int error = vma_protect(mine(), at, at + size, PROT_READ, key);     /* so that no thread writes to it during the scan */
    return error ? error : make_executable(mine(), at, size, prot);
}

static i64 protect(u64 at, u64 size, u32 prot, int key) {
    struct mm *mm = mine();
    int error;

    size = ROUND_UP(size, PAGE_SIZE);
    if (at & PAGE_MASK || prot & ~(u32)PROTS)
        return -EINVAL;
    if (!in_user(at, size))
        return -ENOMEM;
    if (!size)
        return 0;
    u64 end = at;
    bool becomes_executable = false;
    error = 0;
    for (struct vma *v = vma_find(mm, at); end < at + size; end = v->end, v = v->next) {
        if (!v || v->start > end)
            error = -ENOMEM;
        else if (v->sealed && prot & PROT_WRITE)
            error = -EACCES;
        else
            error = check_rights(prot, v->shared);
        if (error)
            break;
        becomes_executable |= prot & PROT_EXEC && !(v->prot & PROT_EXEC);
    }
    size = MIN(end, at + size) - at;    /* as far as it goes: what lies before a hole changes all the same */
    int done = size ? change(at, size, prot, key, becomes_executable) : 0;
    return done ? done : error;
}

i64 sys_mprotect(u64 at, u64 size, u32 prot) { return protect(at, size, prot, -1); }

/* Protection keys: 0 is everybody's, and some are the platform's own. */
i64 sys_pkey_mprotect(u64 at, u64 size, u32 prot, i32 key) {
    if (key != -1 && (key < 0 || key >= KEYS || !((current->process->keys | 1) >> key & 1)))
        return -EINVAL;
    return protect(at, size, prot, key);
}

i64 sys_pkey_alloc(u32 flags, u32 rights) {
    struct process *p = current->process;
    u32 taken = p->keys | plat_keys() | 1;

    if (flags || rights > 3)
        return -EINVAL;
    for (int key = 1; key < KEYS; key++)
        if (!(taken >> key & 1)) {
            p->keys |= 1u << key;
            plat_set_key(key, rights);
            return key;
        }
    return -ENOSPC;
}

i64 sys_pkey_free(i32 key) {
    struct process *p = current->process;

    if (key < 1 || key >= KEYS || !(p->keys >> key & 1))
        return -EINVAL;
    p->keys &= ~(1u << key);
    return 0;
}

i64 sys_brk(u64 to) {
    struct mm *mm = mine();
    u64 old = ROUND_UP(mm->brk, PAGE_SIZE), new = ROUND_UP(to, PAGE_SIZE);

    if (to < mm->brk_start || to >= USER_TOP || (new - mm->brk_start) >> PAGE_SHIFT > pages_total() ||
        new - mm->brk_start > current->process->limits[RLIMIT_DATA].soft)
        return (i64)mm->brk;
    struct vma more = {.start = old, .end = new, .prot = PROT_READ | PROT_WRITE};
    if (new > old && (!vma_is_free(mm, old, new) || is_too_much(old, new - old) || vma_add(mm, &more)))
        return (i64)mm->brk;
    if (new < old && vma_remove(mm, new, old))
        return (i64)mm->brk;
    mm->brk = to;
    return (i64)to;
}

/* Let the pages that are at `from` be at `to`. */
static int move_pages(struct mm *mm, u64 from, u64 to, u64 size) {
    struct pte_run run;

    for (u64 done = 0; done < size; done += PAGE_SIZE) {
        pte_t *old = pte_find(mm, from + done), entry = old ? *old : 0, *new;
        if (!entry)
            continue;
        if (!(new = pte_make(mm, to + done)))
            return -ENOMEM;
        run_begin(&run, mm);
        run_set(&run, from + done, old, 0);
        run_set(&run, to + done, new, entry);
        run_end(&run);
    }
    return 0;
}

/* A range that means what `v` means at `from`. */
static int add_like(const struct vma *v, u64 from, u64 to, u64 size) {
    struct vma like = *v;

    like.start = to;
    like.end = to + size;
    like.offset = v->inode ? v->offset + (from - v->start) : 0;
    return vma_add(mine(), &like);
}

static i64 move_range(const struct vma *v, u64 old, u64 old_size, u64 size, u64 to) {
    struct mm *mm = mine();
    u64 kept = MIN(old_size, size);
    int error = add_like(v, old, to, size);

    if (!error)
        error = move_pages(mm, old, to, kept);
    if (!error)
        error = vma_remove(mm, old, old + old_size);
    return error ? error : (i64)to;
}

i64 sys_mremap(u64 old, u64 old_size, u64 size, u32 flags, u64 to) {
    struct mm *mm = mine();
    struct vma *v = vma_find(mm, old);
    int error;

    old_size = ROUND_UP(old_size, PAGE_SIZE);
    size = ROUND_UP(size, PAGE_SIZE);
    if (old & PAGE_MASK || !size || !old_size || flags & ~(u32)(MREMAP_MAYMOVE | MREMAP_FIXED) || flags == MREMAP_FIXED)
        return -EINVAL;
    if (!v || old < v->start || old + old_size > v->end || size > USER_TOP)
        return -EFAULT;
    if (v->prot & PROT_EXEC && !plat_may_move_code())
        return -EACCES;                 /* code is checked where it was mapped */
    if (size > old_size && is_too_much(USER_TOP, size - old_size))
        return -ENOMEM;
    if (flags & MREMAP_FIXED) {
        if (to & PAGE_MASK || !in_user(to, size) || (to < old + old_size && old < to + size))
            return -EINVAL;
        if ((error = vma_remove(mm, to, to + size)))
            return error;
        return move_range(vma_find(mm, old), old, old_size, size, to);
    }
    if (size <= old_size)
        return size == old_size || !(error = vma_remove(mm, old + size, old + old_size)) ? (i64)old : error;
    if (size >> PAGE_SHIFT > pages_total())
        return -ENOMEM;
    if (old + old_size == v->end && in_user(old, size) && vma_is_free(mm, v->end, old + size)) {
        error = add_like(v, v->end, v->end, old + size - v->end);
        return error ? error : (i64)old;
    }
    if (!(flags & MREMAP_MAYMOVE) || !(to = vma_gap(mm, size)))
        return -ENOMEM;
    return move_range(v, old, old_size, size, to);
}

i64 sys_madvise(u64 at, u64 size, u32 advice) {
    struct mm *mm = mine();

    size = ROUND_UP(size, PAGE_SIZE);
    if (at & PAGE_MASK || !in_user(at, size) || advice > 25)
        return -EINVAL;
    if (advice == MADV_REMOVE)
        return -EINVAL;
    for (u64 va = at; va < at + size;) {
        struct vma *v = vma_find(mm, va);
        if (!v || v->start > va)
            return -ENOMEM;
        u64 end = MIN(v->end, at + size);
        bool kept = v->inode && v->prot & PROT_EXEC && plat_keeps_code_private();       /* the file may hold other code by now */
        if (!kept && (advice == MADV_DONTNEED || (advice == MADV_FREE && !v->shared && !v->inode)))
            vma_zap(mm, va, end);
        va = end;
    }
    return 0;
}

/* Nothing is ever swapped out. */
i64 sys_mlock(u64 at, u64 size) { return vma_is_free(mine(), at, at + ROUND_UP(size, PAGE_SIZE)) && size ? -ENOMEM : 0; }
i64 sys_munlock(u64 at, u64 size) { return sys_mlock(at, size); }
#define MCL_ONFAULT 4           /* says how, not what */

i64 sys_mlockall(u32 flags) { return !flags || flags > 7 || flags == MCL_ONFAULT ? -EINVAL : 0; }
i64 sys_munlockall(void) { return 0; }

i64 sys_mincore(u64 at, u64 size, u64 to) {
    struct mm *mm = mine();

    size = ROUND_UP(size, PAGE_SIZE);
    if (at & PAGE_MASK)
        return -EINVAL;
    if (!in_user(at, size))
        return -ENOMEM;
    for (u64 va = at; va < at + size; va += PAGE_SIZE, to++) {
        struct vma *v = vma_find(mm, va);
        if (!v || v->start > va)
            return -ENOMEM;
        pte_t *slot = pte_find(mm, va);
        u8 present = (slot && *slot) || v->inode;       /* a file's pages are all in memory */
        if (copy_out(to, &present, 1))
            return -EFAULT;
    }
    return 0;
}

#define MS_ASYNC 1
#define MS_SYNC 4

i64 sys_msync(u64 at, u64 size, u32 flags) {
    bool valid = !(at & PAGE_MASK) && !(flags & ~7u) && (flags & (MS_ASYNC | MS_SYNC)) != (MS_ASYNC | MS_SYNC);

    return !valid ? -EINVAL : vma_is_free(mine(), at, at + ROUND_UP(size, PAGE_SIZE)) && size ? -ENOMEM : 0;
}
