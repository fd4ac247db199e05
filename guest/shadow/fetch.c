/* The bytes of the guest's instruction, by its own tables. */
#include "host.h"
#include "shadow.h"

u64 fetch(const struct trapframe *tf, u8 *code, u64 size) {
    u64 got = 0;

    while (got < size) {
        u64 part = MIN(size - got, PAGE_SIZE - ((tf->rip + got) & PAGE_MASK));
        const void *from = guest_bytes(tf->rip + got, part, PF_FETCH);
        if (!from)
            break;
        memcpy(code + got, from, part);
        got += part;
    }
    return got;
}
