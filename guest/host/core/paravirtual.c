/* The hypercalls that every runtime has: time, console, memory to give back, the end. */
#include "host.h"
#include "platform/console.h"
#include "platform/time.h"

bool copy_from_guest(void *to, u64 address, u64 size) {
    while (size) {
        u64 part = MIN(size, PAGE_SIZE - (address & PAGE_MASK));
        const void *from = guest_memory(address, part);
        if (!from)
            return false;
        memcpy(to, from, part);
        to = (u8 *)to + part;
        address += part;
        size -= part;
    }
    return true;
}

i64 pv_timer(u64 deadline) {
    self->deadline = deadline;
    timer_arm();
    return 0;
}

i64 pv_wait(void) {
    wait_for_interrupt();
    return (i64)take_interrupt();
}

i64 pv_cycles_per_second(void) { return (i64)plat_cycles_per_second(); }

i64 pv_unbind(u64 gpa) {
    int result = binding_put(gpa);

    if (!result)
        vcpu_flush(&gpa, 1);
    return result;
}

static u8 *console_bytes(u64 address, u64 size) {
    u8 *memory = guest_memory(address, size);

    if (!memory)
        kill_container("console bytes that are not its own", address);
    return memory;
}

/* Only the first container has volumes, as only it has input. */
i64 pv_console_write(u64 stream, u64 from, u64 count) {
    if (stream == 3 && self->number)
        return (i64)count;
    for (u64 done = 0, part; done < count; done += part) {
        part = MIN(count - done, PAGE_SIZE - ((from + done) & PAGE_MASK));
        plat_console_write((int)stream, console_bytes(from + done, part), part);
    }
    return (i64)count;
}

/* The input is the first container's; for the others it is over before it has begun. */
i64 pv_console_read(u64 stream, u64 to, u64 count) {
    u64 part = MIN(count, PAGE_SIZE - (to & PAGE_MASK));

    return self->number || !part ? 0 : plat_console_read((int)stream, console_bytes(to, part), part);
}

i64 pv_exit(u64 status) { container_ended((int)status & 0xff); }
