/* Switch from one kernel stack to another.  The compiler has saved the registers that a call may change. */
#include "unwind.h"

        .text
        UNWIND_TABLES
        .globl  switch_context          /* (u64 *save, u64 load) */
switch_context:
        UNWIND_CALLED switching
        PUSH    rbx
        PUSH    rbp
        PUSH    r12
        PUSH    r13
        PUSH    r14
        PUSH    r15
        mov     %rsp, (%rdi)
        mov     %rsi, %rsp
        POP     r15
        POP     r14
        POP     r13
        POP     r12
        POP     rbp
        POP     rbx
        ret
        UNWIND_STOP switching
