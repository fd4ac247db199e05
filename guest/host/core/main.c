/* The host's first C code. */
#include "host.h"
#include "machine.h"
#include "options.h"
#include "platform/console.h"
#include "policy.h"

#define KILLED 125              /* the exit status of a container that its host ended */

extern char kernel_end[];

/* What an attack from a container is after; nothing reads it. */
__attribute__((used, retain)) volatile u64 host_secret[512] __attribute__((aligned(4096))) = {0x5ec2e7c0ffee0003};

/* Host memory begins behind the last module, and behind the loader's list of modules and strings. */
static void memory_init(const struct multiboot *info) {
    u64 from = (u64)kernel_end - KERNEL_BASE, to = HIGH_MEMORY + (u64)info->mem_upper * 1024;
    const struct module *modules = host(info->mods_addr);

    for (u32 i = 0; i < info->mods_count; i++)
        from = MAX(from, (u64)modules[i].end);
    if (info->mods_addr >= HIGH_MEMORY)
        from = MAX(from, ROUND_UP((u64)info->mods_addr + PAGE_SIZE, PAGE_SIZE));
    runtime_reserve(&from, to >> PAGE_SHIFT);
    bindings_init(&from, to >> PAGE_SHIFT);     /* modules are lent to containers, so all pages can be bound */
    policy_choose(&from, to >> PAGE_SHIFT);
    pages_init(from, to);
    containers_share();
}

void boot_main(struct multiboot *at) {
    const struct multiboot *info = host((u64)at);
    int count = containers_count(info);

    if (info->flags & MULTIBOOT_CMDLINE) {
        defences_init(host(info->cmdline));
        options_init(host(info->cmdline));
    }
    segments_init();
    pic_init();
    uart_init();
    memory_init(info);
    runtime_init();
    map_image();
    timer_init();
    policy_init();
    run_containers(count);
}

void plat_exit(int status) { power_off(status); }

void kill_container(const char *why, u64 detail) {
    print("container %d is killed: %s (%lx)", self->number, why, detail);
    container_ended(KILLED);
}
