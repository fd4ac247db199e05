/* Where the native kernel sees itself and all physical memory. */
#ifndef LAYOUT_H
#define LAYOUT_H

#define DIRECT_MAP  0xffff888000000000
#define KERNEL_BASE 0xffffffff80000000

#define PLAT_PAGER 0            /* bind memory ahead of its use only with policy=pager */

#endif
