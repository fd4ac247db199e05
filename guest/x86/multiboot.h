/* What the boot loader leaves.
 * Source: Multiboot Specification 0.6.96, "Boot information format". */
#ifndef MULTIBOOT_H
#define MULTIBOOT_H

#include "types.h"

struct multiboot {
    u32 flags, mem_lower, mem_upper, boot_device, cmdline, mods_count, mods_addr, syms[4];
    u32 mmap_length, mmap_addr;
} __attribute__((packed));

#define MULTIBOOT_MEMORY 1      /* flags: which fields are there */
#define MULTIBOOT_CMDLINE 4
#define MULTIBOOT_MODULES 8
#define MULTIBOOT_MMAP 64

struct module { u32 start, end, string, reserved; };

#define HIGH_MEMORY 0x100000UL  /* the memory above 1 MiB, mem_upper KiB, is what we use */

/* The first C code: boot.S calls it with the physical address of the boot information. */
void boot_main(struct multiboot *) __attribute__((noreturn));

#endif
