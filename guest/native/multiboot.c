/* What the boot loader tells: memory, modules, command line.
 * Source: Multiboot Specification 0.6.96, "Boot information format". */
#include "kernel.h"
#include "native.h"

struct mmap_entry {
    u32 size;                   /* of what follows */
    u64 base, length;
    u32 type;                   /* 1 = memory */
} __attribute__((packed));

extern char kernel_end[];

static u64 memory_end(const struct multiboot *info) {
    u64 end = HIGH_MEMORY + (u64)info->mem_upper * 1024;

    if (!(info->flags & MULTIBOOT_MMAP))
        return end;
    for (u64 at = info->mmap_addr; at < (u64)info->mmap_addr + info->mmap_length;) {
        const struct mmap_entry *e = direct(at);
        if (e->type == 1 && e->base <= HIGH_MEMORY && e->base + e->length > end)
            end = e->base + e->length;
        at += e->size + sizeof e->size;
    }
    return end;
}

static struct blob module(const struct multiboot *info, u32 index, u64 *end) {
    if (!(info->flags & MULTIBOOT_MODULES) || index >= info->mods_count)
        panic("boot: module %u is missing", index);
    const struct module *m = (const struct module *)direct(info->mods_addr) + index;
    *end = MAX(*end, ROUND_UP(m->end, PAGE_SIZE));
    return (struct blob){direct(m->start), m->end - m->start};
}

void read_boot_information(const struct multiboot *info, struct bootinfo *boot) {
    static char cmdline[1024];
    u64 end = ROUND_UP((u64)kernel_end - KERNEL_BASE, PAGE_SIZE);

    boot->rootfs = module(info, 0, &end);
    boot->init = module(info, 1, &end);
    if (info->flags & MULTIBOOT_CMDLINE) {
        const char *from = direct(info->cmdline);
        for (u64 i = 0; i < sizeof cmdline - 1 && from[i]; i++)
            cmdline[i] = from[i];
    }
    boot->cmdline = cmdline;
    boot->memory = ROUND_DOWN(memory_end(info), PAGE_SIZE);
    boot->free_start = end;
}
