/* A local APIC, its timer in TSC-deadline mode.  The host keeps the deadline (host.h) and tells when it has passed.
 * Source: SDM volume 3, "Advanced Programmable Interrupt Controller". */
#include "devices.h"
#include "kernel.h"
#include "machine.h"

#define BASE 0xfee00000UL
#define BASE_BSP (1UL << 8)
#define BASE_EXTD (1UL << 10)
#define BASE_ENABLE (1UL << 11)
#define ID 0x20
#define VERSION 0x30
#define TPR 0x80
#define LVT_LINT1 0x360
#define LVT_ERROR 0x370
#define MASKED (1u << 16)
#define SOFTWARE_ENABLE 0x100
#define MODE 0x700
#define MODE_EXTINT 0x700
#define THE_VERSION 0x30014     /* of an integrated APIC with four LVT entries */

void vapic_init(struct vapic *a) {
    *a = (struct vapic){
        .base = BASE | BASE_BSP | BASE_ENABLE, .spurious = 0xff,
        .lvt_timer = MASKED, .lvt_lint0 = MASKED, .lvt_lint1 = MASKED, .lvt_error = MASKED,
    };
}

/* It may go into x2APIC mode, and nowhere else. */
bool vapic_set_base(struct vapic *a, u64 value) {
    if (value != a->base && value != (a->base | BASE_EXTD))
        return false;
    a->base = value;
    return true;
}

static u32 *register_at(struct vapic *a, u32 offset) {
    switch (offset) {
    case TPR: return &a->tpr;
    case LAPIC_SPURIOUS: return &a->spurious;
    case LAPIC_LVT_TIMER: return &a->lvt_timer;
    case LAPIC_LINT0: return &a->lvt_lint0;
    case LVT_LINT1: return &a->lvt_lint1;
    case LVT_ERROR: return &a->lvt_error;
    default: return NULL;
    }
}

bool vapic_read(const struct vapic *a, u32 offset, u64 *value) {
    const u32 *r = register_at((struct vapic *)a, offset);

    if (!(a->base & BASE_EXTD) || (!r && offset != ID && offset != VERSION))
        return false;
    *value = r ? *r : offset == VERSION ? THE_VERSION : 0;
    return true;
}

bool vapic_write(struct vapic *a, u32 offset, u64 value) {
    u32 *r = register_at(a, offset);

    if (!(a->base & BASE_EXTD) || value >> 32)
        return false;
    if (offset == LAPIC_EOI && !value) {
        a->timer_serving = false;
        return true;
    }
    if (r)
        *r = (u32)value;
    return r;
}

/* What a masked timer has to say is lost. */
void vapic_timer(struct vapic *a) { a->timer_rang |= !(a->lvt_timer & MASKED); }

int vapic_timer_pending(const struct vapic *a) {
    u32 class = (a->lvt_timer & 0xff) >> 4;

    if (!a->timer_rang || a->timer_serving || !(a->spurious & SOFTWARE_ENABLE) || class <= a->tpr >> 4)
        return -1;
    return a->lvt_timer & 0xff;
}

bool vapic_takes_extint(const struct vapic *a) {
    return a->spurious & SOFTWARE_ENABLE && !(a->lvt_lint0 & MASKED) && (a->lvt_lint0 & MODE) == MODE_EXTINT;
}
