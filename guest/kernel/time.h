/* Virtual time (time.c). */
#ifndef TIME_H
#define TIME_H

#include "linux.h"
#include "types.h"

#define NS_PER_S 1000000000UL

void time_init(void);
u64 now_ns(void);               /* since boot, which is the epoch, too */
u64 cycles_of_ns(u64 ns);

static inline u64 ns_of_timespec(struct timespec t) {
    return (t.sec < 1L << 32 ? (u64)t.sec : 1UL << 32) * NS_PER_S + (u64)t.nsec;
}

#endif
