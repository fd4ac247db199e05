/* What the files of the PVM platform share. */
#ifndef PVKERNEL_H
#define PVKERNEL_H

#include "abi.h"

extern struct pvm_vcpu_struct pvcs;     /* what crosses with an event, and on the way back */
extern u64 kernel_stack;                /* where the next entry from user begins */
extern u64 boot_root;                   /* the tables that the host has made: the kernel's half is in them */

extern char syscall_entry[], event_entry[], return_instruction[];       /* entry.S */

static inline i64 hypercall3(u64 number, u64 a, u64 b, u64 c) {
    register u64 r10 asm("r10") = b;
    i64 result;

    asm volatile("syscall" : "=a"(result), "+r"(r10) : "a"(number), "b"(a), "d"(c) : "rcx", "r11", "memory");
    return result;
}

static inline i64 hypercall(u64 number, u64 a, u64 b) { return hypercall3(number, a, b, 0); }

static inline void write_msr(u32 msr, u64 value) { hypercall(PVM_HC_WRMSR, msr, value); }

#endif
