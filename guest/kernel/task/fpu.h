/* The x87 and SSE registers: always the program's, for the kernel is compiled without them. */
#ifndef FPU_H
#define FPU_H

#include "platform/entry.h"

extern const struct fpu fpu_at_start;           /* of a program, and of a signal's handler (exec.c) */

static inline void fpu_save(struct fpu *f) { asm volatile("fxsave64 %0" : "=m"(*f)); }
static inline void fpu_load(const struct fpu *f) { asm volatile("fxrstor64 %0" :: "m"(*f)); }

#endif
