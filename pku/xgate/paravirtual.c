/* Time and console by hypercalls: what a kernel can ask of any of our hosts. */
#include "hypercall.h"
#include "platform/console.h"
#include "platform/entry.h"
#include "platform/time.h"
#include "x86.h"

u64 plat_cycles(void) { return rdtsc(); }

u64 plat_cycles_per_second(void) {
    static u64 hz;

    if (!hz)
        hz = (u64)hypercall(HC_HZ, 0, 0, 0, 0);
    return hz;
}

void plat_listen(int line) { (void)line; }      /* its host knows of no masks */
void plat_timer(u64 deadline) { hypercall(HC_TIMER, deadline, 0, 0, 0); }

void plat_wait(void) {
    struct trapframe tf = {.vector = (u64)hypercall(HC_WAIT, 0, 0, 0, 0)};
    trap(&tf, 0);
}

void plat_console_write(int stream, const u8 *from, u64 count) {
    hypercall(HC_CONSOLE_WRITE, (u64)stream, (u64)from, count, 0);
}

i64 plat_console_read(int stream, u8 *to, u64 count) {
    return hypercall(HC_CONSOLE_READ, (u64)stream, (u64)to, count, 0);
}

void plat_exit(int status) {
    hypercall(HC_EXIT, (u64)status, 0, 0, 0);
    for (;;)
        ;
}
