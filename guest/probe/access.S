/* One access, in ring 0 or 3, and the way back whatever happens.
 *
 * attempt_frame(frame, address, value): IRETQ to the stub that the frame names; every exception, and the INT $0x20 that
 * ends a stub, comes to `common`, which records what happened and returns to the caller of attempt_frame.  An interrupt
 * gate leaves RFLAGS.AC as it was: C does not mind. */

        .text
        .globl  attempt_frame
attempt_frame:
        push    %rbx
        push    %rbp
        push    %r12
        push    %r13
        push    %r14
        push    %r15
        mov     %rsp, saved_rsp
        pushq   32(%rdi)                /* SS */
        pushq   24(%rdi)                /* RSP */
        pushq   16(%rdi)                /* RFLAGS */
        pushq   8(%rdi)                 /* CS */
        pushq   (%rdi)                  /* RIP */
        mov     %rdx, %rax
        mov     %rsi, %rdi
        iretq

/* The stubs: RDI the address, EAX the value or selector.  In ring 3 they run where the user window shows them, and
 * touch no memory but the one under test. */
        .globl  stub_read, stub_write, stub_execute, stub_load_fs
stub_read:
        mov     (%rdi), %eax
        int     $0x20
stub_write:
        mov     %eax, (%rdi)
        int     $0x20
stub_execute:
        jmp     *%rdi                   /* to an INT $0x20 */
stub_load_fs:
        mov     %eax, %fs
        int     $0x20

/* 33 entries of 16 bytes: vectors 0 to 32. */
        .globl  vectors
        .balign 16
vectors:
vector = 0
        .rept   33
        .balign 16
        .if     (vector != 8) && ((vector < 10) || (vector > 14)) && (vector != 17) && (vector != 21)
        push    $0                      /* no error code */
        .endif
        push    $vector
        jmp     common
vector = vector + 1
        .endr

common: mov     %rax, outcome + 24      /* struct outcome */
        pop     outcome
        pop     outcome + 8
        mov     (%rsp), %rax
        mov     %rax, outcome + 16
        mov     saved_rsp, %rsp
        pop     %r15
        pop     %r14
        pop     %r13
        pop     %r12
        pop     %rbp
        pop     %rbx
        ret

        .bss
        .balign 4096                    /* a frame that crosses a page is slow on an emulator */
        .globl  access_stack_top
        .skip   4096
access_stack_top:
saved_rsp:
        .skip   8
