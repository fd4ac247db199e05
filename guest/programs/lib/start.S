/* Where a program begins: argc, argv and the rest lie on the stack. */
#ifdef UNWIND                           /* for debuggers, and not loaded */
        .cfi_sections .debug_frame
        .macro  BOTTOM
        .cfi_startproc
        .cfi_undefined rip              /* nobody has called: the stack ends here */
        .endm
        .macro  STOP
        .cfi_endproc
        .endm
#else
        .macro  BOTTOM
        .endm
        .macro  STOP
        .endm
#endif

        .text
        .globl  _start
        .type   _start, @function
_start: BOTTOM
        xor     %ebp, %ebp
        mov     (%rsp), %rdi
        lea     8(%rsp), %rsi
        and     $-16, %rsp
        call    main
        mov     %eax, %edi
        mov     $231, %eax              /* exit_group */
        syscall
        hlt
        STOP
        .size   _start, . - _start

        .section .note.GNU-stack, "", @progbits
