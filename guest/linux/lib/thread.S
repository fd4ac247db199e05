/* clone_call(flags, stack_end, parent_tid, child_tid, tls, run, argument): the new
 * task has nothing on its stack, so it cannot return through C. */
        .text
        .globl  clone_call
        .type   clone_call, @function
clone_call:
        mov     8(%rsp), %rax           /* the argument, onto the new stack */
        and     $-16, %rsi
        sub     $16, %rsi
        mov     %rax, (%rsi)
        mov     %rcx, %r10
        mov     $56, %eax               /* clone; run stays in r9 */
        syscall
        test    %rax, %rax
        jnz     1f
        xor     %ebp, %ebp
        mov     (%rsp), %rdi
        call    *%r9
        mov     %eax, %edi
        mov     $60, %eax               /* exit, of this thread alone */
        syscall
        hlt
1:      ret
        .size   clone_call, . - clone_call

        .section .note.GNU-stack, "", @progbits
