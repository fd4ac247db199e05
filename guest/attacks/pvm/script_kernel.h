/* What script.c has of this kernel, and gives it. */
#ifndef SCRIPT_KERNEL_H
#define SCRIPT_KERNEL_H

#include "kernel.h"
#include "pte.h"

extern struct gk_boot *boot;
extern bool scripted;                   /* an event goes on with the script */

volatile pte_t *entry(u64 root, u64 va, int level);
void enter(u64 rip, u64 cs, u64 ss, u64 flags);
void user_code(const u8 *code, u64 size);
void nap(u64 cycles);
void script_begin(void), script_go_on(void);

#endif
