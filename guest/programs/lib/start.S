/* Where a program begins: argc, argv and the rest lie on the stack. */
        .text
        .globl  _start
        .type   _start, @function
_start: xor     %ebp, %ebp
        mov     (%rsp), %rdi
        lea     8(%rsp), %rsi
        and     $-16, %rsp
        call    main
        mov     %eax, %edi
        mov     $231, %eax              /* exit_group */
        syscall
        hlt
        .size   _start, . - _start

/* i64 syscall(i64 number, a, b, c, d, e, f) */
        .globl  syscall
        .type   syscall, @function
syscall:
        mov     %rdi, %rax
        mov     %rsi, %rdi
        mov     %rdx, %rsi
        mov     %rcx, %rdx
        mov     %r8, %r10
        mov     %r9, %r8
        mov     8(%rsp), %r9
        syscall
        ret
        .size   syscall, . - syscall

        .section .note.GNU-stack, "", @progbits
