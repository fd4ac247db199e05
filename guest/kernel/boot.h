/* What a container kernel finds when it starts. */
#ifndef BOOT_H
#define BOOT_H

#include "types.h"

struct gk_boot {
    u64 memory, free_start;     /* guest-physical bytes */
    u64 rootfs, rootfs_size, init, init_size;   /* guest-physical */
    u64 hwcap;
    u64 root;                   /* the page tables that it starts with, where they are its own: guest-physical */
    char cmdline[1024];
};

#endif
