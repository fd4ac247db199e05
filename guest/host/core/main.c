/* The host's first C code. */
#include "host.h"

#define KILLED 125
#define XCR0_X87_SSE_PKRU 0x203

extern char kernel_end[];

/* What an attack from a container is after; nothing reads it. */
__attribute__((used, retain)) volatile u64 host_secret[512] __attribute__((aligned(4096))) = {0x5ec2e7c0ffee0003};

static void features(void) {
    struct cpuid seven = cpuid(7, 0);
    u64 cr4 = read_cr4() | CR4_OSFXSR | CR4_OSXMMEXCPT;

    if (!(seven.c & 1u << 3) || !(seven.b & 1u << 0))
        panic("this processor lacks protection keys or FSGSBASE");
    cr4 |= CR4_FSGSBASE;
    if (seven.b & 1u << 7) cr4 |= CR4_SMEP;
    if (seven.b & 1u << 20) cr4 |= CR4_SMAP;
    if (seven.c & 1u << 2) cr4 |= CR4_UMIP;
    if (cpuid(1, 0).c >> 26 & 1) {      /* XSAVE: programs may have it, with the keys in it */
        write_cr4(cr4 |= CR4_PKE | CR4_OSXSAVE);
        asm volatile("xsetbv" :: "c"(0), "a"(XCR0_X87_SSE_PKRU), "d"(0));
    }
    write_cr4(cr4 | CR4_PKE);
    write_cr0((read_cr0() | CR0_MP) & ~CR0_EM);
    wrpkru(PKRU_KERNEL);
}

/* Host memory begins behind the last module. */
static void memory(const struct multiboot *info, int parts) {
    u64 from = (u64)kernel_end - KERNEL_BASE;
    const struct module *modules = host(info->mods_addr);

    for (u32 i = 0; i < info->mods_count; i++)
        from = MAX(from, (u64)modules[i].end);
    from = MAX(from, ROUND_UP((u64)info->mods_addr + 4096, 4096) > HIGH_MEMORY ? (u64)info->mods_addr + 4096 : 0);
    pages_init(from, HIGH_MEMORY + (u64)info->mem_upper * 1024, parts);
}

void boot_main(struct multiboot *at) {
    const struct multiboot *info = host((u64)at);
    int count = containers_count(info);

    if (info->flags & MULTIBOOT_CMDLINE)
        defences_init(host(info->cmdline));
    segments_init();
    if (OFF(int80))
        open_gate(0x80);
    pic_init();
    uart_init();
    memory(info, MIN(count, MAX_RUNNING));
    features();
    map_image();
    timer_init();
    run_containers(count);
}

void plat_exit(int status) { power_off(status); }

void kill_container(const char *why, u64 detail) {
    print("container %d is killed: %s (%lx)", self->number, why, detail);
    container_ended(KILLED);
}
