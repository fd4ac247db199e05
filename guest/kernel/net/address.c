/* Names of sockets, from and to the program. */
#include "address.h"

#include "kernel.h"
#include "mm/vm.h"

i64 address_in(struct address *a, u64 user, u32 size) {
    if (size > sizeof a->bytes)
        return -EINVAL;
    *a = (struct address){.size = size};
    return copy_in(a->bytes, user, size);
}

i64 address_out(const struct address *a, u64 user, u64 size) {
    i32 room;

    if (copy_in(&room, size, sizeof room))
        return -EFAULT;
    if (room < 0)
        return -EINVAL;
    return copy_out(user, a->bytes, MIN((u32)room, a->size)) || copy_out(size, &a->size, sizeof a->size) ? -EFAULT : 0;
}
