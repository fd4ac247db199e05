/* Where a signal handler returns to. */
        .text
        .globl  restorer
        .type   restorer, @function
restorer:
        mov     $15, %eax               /* rt_sigreturn */
        syscall
        hlt
        .size   restorer, . - restorer

        .section .note.GNU-stack, "", @progbits
