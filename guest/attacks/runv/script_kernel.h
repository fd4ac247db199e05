/* What script.c has of this kernel, and gives it. */
#ifndef SCRIPT_KERNEL_H
#define SCRIPT_KERNEL_H

#include "kernel.h"
#include "pte.h"

pte_t *script_map(u64 va, u64 gpa);     /* map a page, and give its entry */
void script_begin(void);

#endif
