/* Control registers of the guest, and what of them is offered. */
#ifndef CONTROL_H
#define CONTROL_H

#include "types.h"

#define CR0_PE (1UL << 0)
#define CR0_ET (1UL << 4)
#define CR0_NE (1UL << 5)
#define CR0_NW (1UL << 29)
#define CR0_CD (1UL << 30)
#define CR4_VMXE (1UL << 13)

u64 xcr0_offered(void);

#endif
