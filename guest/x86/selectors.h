/* Segment selectors.  SYSRET takes CS = STAR[63:48] + 16 and SS = STAR[63:48] + 8, which fixes the order. */
#ifndef SELECTORS_H
#define SELECTORS_H

#define KERNEL_CS 0x08
#define KERNEL_SS 0x10
#define USER_BASE 0x13          /* STAR[63:48]: the kernel's data, with RPL 3 */
#define USER_SS 0x1b
#define USER_CS 0x23
#define TSS_SELECTOR 0x28

#endif
