/* What the files of the native platform share. */
#ifndef NATIVE_H
#define NATIVE_H

#include "multiboot.h"
#include "platform.h"
#include "types.h"

/* space.c */
extern u64 cr4;                 /* as it stays: reading the register traps where there is a hypervisor */
void memory_init(void);

/* multiboot.c */
void read_boot_information(const struct multiboot *, struct bootinfo *);

#endif
