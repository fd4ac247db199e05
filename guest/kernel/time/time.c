/* Time since boot, counted in cycles. */
#include "time.h"

#include "kernel.h"
#include "platform/time.h"

/* Every machine boots at 2026-01-01 00:00:00 UTC, so that a run can be repeated. */
#define BOOT_TIME (1767225600UL * NS_PER_S)

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

u64 calendar_ns(void) { return BOOT_TIME + now_ns(); }

bool is_calendar(u32 clock) {
    return clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE || clock == CLOCK_REALTIME_ALARM || clock == CLOCK_TAI;
}

u64 since_boot(u32 clock, struct timespec t) {
    u64 ns = ns_of_timespec(t), start = is_calendar(clock) ? BOOT_TIME : 0;

    return ns > start ? ns - start : 0;
}

/* The cycle at which `ns` is certainly over. */
u64 cycles_of_ns(u64 ns) {
    return boot + ns / NS_PER_S * hz + (ns % NS_PER_S * hz + NS_PER_S - 1) / NS_PER_S;
}
