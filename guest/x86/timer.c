/* Time is the TSC.  At a deadline the local APIC interrupts, in TSC-deadline
 * mode; without one the 8254 does, whose 16 bits may end too early: the kernel
 * then reads the clock and arms it again.
 * Source: SDM volume 3, "TSC-Deadline Mode". */
#include "machine.h"
#include "platform/time.h"
#include "x86.h"

#define MODE_DEADLINE 0x40000

#define PIT_HZ 1193182UL
#define PIT_0 0x40
#define PIT_2 0x42
#define PIT_COMMAND 0x43
#define GATE_2 0x61

bool timer_is_local;
static u64 hz;

/* Cycles in 10 ms, by the third counter of the 8254, whose output can be read. */
static u64 calibrate(void) {
    u64 ticks = PIT_HZ / 100, start;

    outb(GATE_2, (u8)((inb(GATE_2) & ~3) | 1));
    outb(PIT_COMMAND, 0xb0);            /* counter 2, both bytes, mode 0 */
    outb(PIT_2, (u8)ticks);
    outb(PIT_2, (u8)(ticks >> 8));
    start = rdtsc();
    while (!(inb(GATE_2) & 0x20))
        ;
    return (rdtsc() - start) * 100;
}

static u64 frequency(void) {
    if (cpuid(0, 0).a >= 0x15) {
        struct cpuid c = cpuid(0x15, 0);
        if (c.a && c.b && c.c)
            return (u64)c.c * c.b / c.a;
    }
    return calibrate();
}

void timer_init(void) {
    hz = frequency();
    timer_is_local = cpuid(1, 0).c >> 24 & 1;
    if (!timer_is_local) {
        pic_unmask(0);
        return;
    }
    lapic_init();
    lapic_write(LAPIC_LVT_TIMER, MODE_DEADLINE | VEC_IRQ0);
}

u64 plat_cycles(void) { return rdtsc(); }
u64 plat_cycles_per_second(void) { return hz; }

void plat_timer(u64 deadline) {
    if (timer_is_local) {
        wrmsr(MSR_TSC_DEADLINE, deadline);
        return;
    }
    if (!deadline)
        return;                         /* a late tick does no harm */
    u64 now = rdtsc();
    u64 ticks = deadline > now ? (deadline - now) / (hz / PIT_HZ) + 1 : 1;
    ticks = MIN(ticks, 0xffffUL);
    outb(PIT_COMMAND, 0x30);            /* counter 0, both bytes, mode 0 */
    outb(PIT_0, (u8)ticks);
    outb(PIT_0, (u8)(ticks >> 8));
}
