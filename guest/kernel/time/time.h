/* Virtual time (time.c). */
#ifndef TIME_H
#define TIME_H

#include "linux.h"
#include "types.h"

#define NS_PER_S 1000000000UL

void time_init(void);
u64 now_ns(void);               /* since boot */
u64 calendar_ns(void);          /* since 1970: the clock begins at the same time in every run */
bool is_calendar(u32 clock);
u64 since_boot(u32 clock, struct timespec);     /* what a time of that clock is in ns since boot; 0 if it was before */
u64 cycles_of_ns(u64 ns);

static inline struct timespec timespec_of(u64 ns) { return (struct timespec){(i64)(ns / NS_PER_S), (i64)(ns % NS_PER_S)}; }
static inline struct timeval timeval_of(u64 ns) { return (struct timeval){(i64)(ns / NS_PER_S), (i64)(ns % NS_PER_S / 1000)}; }

static inline u64 ns_of_timespec(struct timespec t) {
    return (t.sec < 1L << 32 ? (u64)t.sec : 1UL << 32) * NS_PER_S + (u64)t.nsec;
}

#endif
