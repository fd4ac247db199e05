/* Virtual time (time.c). */
#ifndef TIME_H
#define TIME_H

#include "types.h"

#define NS_PER_S 1000000000UL

void time_init(void);
u64 now_ns(void);               /* since boot, which is the epoch, too */
u64 cycles_of_ns(u64 ns);
int sleep_until(u64 ns);        /* 0, or -EINTR when a signal came first */

#endif
