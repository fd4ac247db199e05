/* The beginning of a PVM guest's container kernel, and the events that its host brings. */
#include "kernel.h"
#include "machine.h"
#include "platform.h"
#include "platform/console.h"
#include "platform/entry.h"
#include "platform/time.h"
#include "pvkernel.h"
#include "x86.h"

#define DEBUG_EXIT 0xf4

static u64 hwcap, hz;
u64 boot_root;

static struct cpuid synthetic_cpuid(u32 leaf) {
    struct cpuid r;

    asm volatile(".byte 0x0f, 0x01, 0x3c, 0x25, 0x50, 0x56, 0x4d, 0xff, 0x0f, 0xa2"     /* PVM_SYNTHETIC_CPUID */
                 : "=a"(r.a), "=b"(r.b), "=c"(r.c), "=d"(r.d) : "a"(leaf), "c"(0));
    return r;
}

static u64 image_physical(const void *in_image) { return (u64)in_image - KERNEL_BASE; }

void pvkernel_main(struct gk_boot *boot) {
    static struct bootinfo info;

    hwcap = boot->hwcap;
    boot_root = boot->root;
    write_msr(PVM_MSR_VCPU_STRUCT, image_physical(&pvcs));
    write_msr(PVM_MSR_EVENT_ENTRY, (u64)event_entry);
    write_msr(PVM_MSR_RETU_RIP, (u64)return_instruction);
    write_msr(MSR_LSTAR, (u64)syscall_entry);
    uart_init();
    hz = synthetic_cpuid(KVM_CPUID_TIMING).a * 1000UL;
    info.memory = boot->memory;
    info.free_start = boot->free_start;
    info.rootfs = (struct blob){direct(boot->rootfs), boot->rootfs_size};
    info.init = (struct blob){direct(boot->init), boot->init_size};
    info.cmdline = boot->cmdline;
    kernel_main(&info);
}

void event(struct trapframe *tf, u64 address) {
    if (tf->vector < VEC_IRQ0 && !(tf->cs & 3))
        panic("exception %lu, error %lx, in the kernel at rip %lx, address %lx, rsp %lx",
              tf->vector, tf->error, tf->rip, address, tf->rsp);
    trap(tf, address);
}

u64 plat_cycles(void) { return rdtsc(); }
u64 plat_cycles_per_second(void) { return hz; }
void plat_timer(u64 deadline) { write_msr(MSR_TSC_DEADLINE, deadline); }

void plat_listen(int line) { (void)line; }      /* its host knows of no masks */

/* The interrupt comes as an event before the hypercall returns. */
void plat_wait(void) { hypercall(PVM_HC_IRQ_HLT, 0, 0); }

void plat_exit(int status) {
    outl(DEBUG_EXIT, (u32)status);
    for (;;)
        ;
}

u64 plat_hwcap(void) { return hwcap; }
