/* A request to the host. */
#ifndef HYPERCALL_H
#define HYPERCALL_H

#include "abi.h"

static inline i64 hypercall5(u64 number, u64 a, u64 b, u64 c, u64 d, u64 e) {
    register u64 r10 asm("r10") = d, r8 asm("r8") = e;
    i64 result;

    asm volatile("syscall"
                 : "=a"(result)
                 : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8)
                 : "rcx", "r11", "memory");
    return result;
}

static inline i64 hypercall(u64 number, u64 a, u64 b, u64 c, u64 d) { return hypercall5(number, a, b, c, d, 0); }

#endif
