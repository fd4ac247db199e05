/* The local APIC: by MSRs where the processor has x2APIC mode, else through its page.  In a virtual machine an MSR is
 * the cheaper one: its exit says which register, and a store to the page would have to be decoded.
 * Source: SDM volume 3, "Local APIC Registers", "x2APIC Register Address Space". */
#include "layout.h"
#include "machine.h"
#include "x86.h"

#define SOFTWARE_ENABLE 0x1ff
#define MODE_EXTINT 0x700
#define EXTD (1UL << 10)                /* of IA32_APIC_BASE: x2APIC mode */

static volatile u32 *page;              /* NULL in x2APIC mode */

void lapic_write(u32 offset, u32 value) {
    if (page)
        page[offset / 4] = value;
    else
        wrmsr(MSR_X2APIC + offset / 16, value);
}

void lapic_init(void) {
    u64 base = rdmsr(MSR_APIC_BASE);

    if (cpuid(1, 0).c >> 21 & 1)
        wrmsr(MSR_APIC_BASE, base | EXTD);
    else
        page = (volatile u32 *)((base & ~PAGE_MASK) + DIRECT_MAP);
    lapic_write(LAPIC_SPURIOUS, SOFTWARE_ENABLE);
    lapic_write(LAPIC_LINT0, MODE_EXTINT);      /* the 8259s come through here */
}
