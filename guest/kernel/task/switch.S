/* Switch from one kernel stack to another.  The compiler has saved the registers that a call may change. */
        .text
        .globl  switch_context          /* (u64 *save, u64 load) */
switch_context:
        push    %rbx
        push    %rbp
        push    %r12
        push    %r13
        push    %r14
        push    %r15
        mov     %rsp, (%rdi)
        mov     %rsi, %rsp
        pop     %r15
        pop     %r14
        pop     %r13
        pop     %r12
        pop     %rbp
        pop     %rbx
        ret
