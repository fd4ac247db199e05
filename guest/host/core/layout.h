/* Where the host sees itself and all physical memory: beside the container kernel's regions (abi.h). */
#ifndef LAYOUT_H
#define LAYOUT_H

#define DIRECT_MAP  0xffff900000000000
#define KERNEL_BASE 0xffffffffc0000000

#endif
