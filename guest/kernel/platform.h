/* The narrow platform layer: what the container kernel asks of the machine
 * below it, in five groups that a platform implements one by one.
 *
 *   platform/entry.h     entering and leaving the kernel, a thread's registers
 *   platform/space.h     address spaces
 *   platform/time.h      time, interrupts, idling
 *   platform/console.h   console and end
 *   platform/keys.h      protection keys, executable pages
 *
 * Three builds: guest/native/ (the kernel at ring 0), pku/xgate/ (the kernel
 * at ring 3, kept apart by protection keys) and guest/pvkernel/ (the kernel at
 * ring 3, a guest of PVM).
 */
#ifndef PLATFORM_H
#define PLATFORM_H

#include "types.h"

struct blob { u8 *data; u64 size; };

struct bootinfo {
    u64 memory;                 /* bytes of (guest-)physical memory, from 0 */
    u64 free_start;             /* first physical byte not used by kernel image or modules */
    struct blob rootfs;         /* ustar/GNU tar, addressable by the kernel */
    struct blob init;           /* ARGC\0 ENVC\0 argv\0… env\0… */
    const char *cmdline;
};

/* A platform calls it with (virtual) interrupts off, once it can do all of the above. */
void kernel_main(struct bootinfo *) __attribute__((noreturn));

#endif
