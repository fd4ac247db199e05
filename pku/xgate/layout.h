/* Where the container kernel sees itself and all guest-physical memory. */
#ifndef LAYOUT_H
#define LAYOUT_H

#include "abi.h"

#define DIRECT_MAP  GK_DIRECT
#define KERNEL_BASE GK_BASE

#define PLAT_PAGER 1            /* bind memory ahead of its use, unless policy= says another: with the gates that is what ParaCell is */

#endif
