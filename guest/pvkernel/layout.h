/* Where a PVM guest's kernel sees itself and all of its memory: in the part of the address space that PVM leaves to guests,
 * which the last 2 GiB are not. */
#ifndef LAYOUT_H
#define LAYOUT_H

#define DIRECT_MAP  0xffff888000000000
#define KERNEL_BASE 0xffff8f0000000000

#define PLAT_PAGER 0            /* bind memory ahead of its use only with policy=pager */

#endif
