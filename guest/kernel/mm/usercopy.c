/* User memory, page by page through the direct map.  A kernel address is no
 * user page, so it is refused like any other that is not mapped. */
#include "kernel.h"
#include "task/process.h"
#include "vm.h"

static u64 in_page(u64 va, u64 n) { return MIN(n, PAGE_SIZE - (va & PAGE_MASK)); }

int copy_in(void *to, u64 from, u64 n) {
    for (u64 part; n; n -= part, from += part, to = (u8 *)to + part) {
        void *page = user_page(current->process->mm, from, ACCESS_READ);
        if (!page)
            return -EFAULT;
        part = in_page(from, n);
        memcpy(to, page, part);
    }
    return 0;
}

int copy_out(u64 to, const void *from, u64 n) { return copy_out_to(current->process->mm, to, from, n); }

int copy_out_to(struct mm *mm, u64 to, const void *from, u64 n) {
    for (u64 part; n; n -= part, to += part, from = (const u8 *)from + part) {
        void *page = user_page(mm, to, ACCESS_WRITE);
        if (!page)
            return -EFAULT;
        part = in_page(to, n);
        memcpy(page, from, part);
    }
    return 0;
}

int clear_user(u64 to, u64 n) {
    for (u64 part; n; n -= part, to += part) {
        void *page = user_page(current->process->mm, to, ACCESS_WRITE);
        if (!page)
            return -EFAULT;
        part = in_page(to, n);
        memset(page, 0, part);
    }
    return 0;
}

i64 user_string_length(u64 from, u64 size) {
    for (u64 done = 0, part; done < size; done += part) {
        const char *page = user_page(current->process->mm, from + done, ACCESS_READ);
        if (!page)
            return -EFAULT;
        part = in_page(from + done, size - done);
        u64 n = strnlen(page, part);
        if (n < part)
            return (i64)(done + n);
    }
    return -ENAMETOOLONG;
}

i64 copy_in_string(char *to, u64 from, u64 size) {
    for (u64 done = 0, part; done < size; done += part) {
        const char *page = user_page(current->process->mm, from + done, ACCESS_READ);
        if (!page)
            return -EFAULT;
        part = in_page(from + done, size - done);
        u64 n = strnlen(page, part);
        memcpy(to + done, page, n);
        if (n < part) {
            to[done + n] = 0;
            return (i64)(done + n);
        }
    }
    return -ENAMETOOLONG;
}
