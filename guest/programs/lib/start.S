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

        .section .note.GNU-stack, "", @progbits
