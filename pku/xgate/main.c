/* The beginning of a ParaCell container's kernel, and the events that its host brings. */
#include "platform.h"
#include "platform/entry.h"
#include "xgate.h"

struct xgate_stats xgate_stats;

/* What an attack is after; nothing reads it. */
__attribute__((used, retain)) volatile u64 gk_secret[512] __attribute__((aligned(4096))) = {0x5ec2e7c0ffee0001};

static u64 hwcap;

void xgate_main(struct gk_boot *boot) {
    static struct bootinfo info;

    defences_init(boot->cmdline);
    hwcap = boot->hwcap;
    info.memory = boot->memory;
    info.free_start = boot->free_start;
    info.rootfs = (struct blob){direct(boot->rootfs), boot->rootfs_size};
    info.init = (struct blob){direct(boot->init), boot->init_size};
    info.cmdline = boot->cmdline;
    kernel_main(&info);
}

/* The host has put an event on our stack: a raw SYSCALL, an exception, an interrupt. */
void xgate_event(struct trapframe *tf, u64 address) {
    if (tf->vector == VEC_SYSCALL)
        xgate_stats.slow_calls++;
    entries_may_wait();
    trap(tf, address);
}

u64 plat_hwcap(void) { return hwcap; }
