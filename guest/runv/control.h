/* Control registers of the guest, and what of them is offered. */
#ifndef CONTROL_H
#define CONTROL_H

#include "types.h"

#define CR0_PE (1UL << 0)
#define CR0_ET (1UL << 4)
#define CR0_NE (1UL << 5)
#define CR0_WP (1UL << 16)
#define CR0_NW (1UL << 29)
#define CR0_CD (1UL << 30)
#define CR0_PG (1UL << 31)
#define CR4_PAE (1UL << 5)
#define CR4_VMXE (1UL << 13)

#define EFER_SCE (1UL << 0)
#define EFER_LME (1UL << 8)
#define EFER_LMA (1UL << 10)
#define EFER_NXE (1UL << 11)

#define CR0_OWNED (CR0_NE | CR0_NW | CR0_CD)    /* VMX wants NE; VM exits leave NW and CD as the guest set them */
/* VME PVI TSD DE PSE PAE PGE, PCE, and those of x86.h */
#define CR4_OFFERED (0x1bfUL | CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_UMIP | CR4_FSGSBASE | CR4_PCIDE | CR4_OSXSAVE | CR4_SMEP \
                     | CR4_SMAP | CR4_PKE)

u64 xcr0_offered(void);

#endif
