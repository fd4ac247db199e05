/* Time, interrupts, idling. */
#ifndef PLATFORM_TIME_H
#define PLATFORM_TIME_H

#include "types.h"

u64  plat_cycles(void);                                     /* TSC */
u64  plat_cycles_per_second(void);
void plat_timer(u64 deadline_cycles);                       /* 0 = off; arrives as VEC_IRQ0 */
void plat_listen(int line);                                  /* let a line of the interrupt controller through */
void plat_wait(void);                                       /* sleep until an interrupt; it is delivered through trap() */

#endif
