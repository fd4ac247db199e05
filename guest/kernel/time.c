/* Time since boot, counted in cycles. */
#include "time.h"

#include "kernel.h"
#include "process.h"

static u64 hz, boot;

void time_init(void) {
    hz = plat_cycles_per_second();
    boot = plat_cycles();
}

static u64 now_cycles(void) { return plat_cycles() - boot; }

/* Whole seconds apart, so that the products stay below 2^64. */
u64 now_ns(void) {
    u64 c = now_cycles();

    return c / hz * NS_PER_S + c % hz * NS_PER_S / hz;
}

/* The cycle at which `ns` is certainly over. */
u64 cycles_of_ns(u64 ns) {
    return boot + ns / NS_PER_S * hz + (ns % NS_PER_S * hz + NS_PER_S - 1) / NS_PER_S;
}
