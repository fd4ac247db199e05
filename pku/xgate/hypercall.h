/* A request to the host. */
#ifndef HYPERCALL_H
#define HYPERCALL_H

#include "abi.h"

static inline i64 hypercall(u64 number, u64 a, u64 b, u64 c, u64 d) {
    register u64 r10 asm("r10") = d;
    i64 result;

    asm volatile("syscall"
                 : "=a"(result)
                 : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10)
                 : "rcx", "r11", "memory");
    return result;
}

#endif
