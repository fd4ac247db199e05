/* ept_enter(address, resume): enter the guest with `address` in RAX; returns behind its exit.  The guest's stubs, one for each access. */
#define HOST_RSP 0x6c14

        .globl  ept_enter, ept_exit, ept_stubs
ept_enter:
        push    %rbx
        push    %rbp
        push    %r12
        push    %r13
        push    %r14
        push    %r15
        mov     $HOST_RSP, %eax
        vmwrite %rsp, %rax
        mov     %rdi, %rax
        test    %esi, %esi
        jnz     1f
        vmlaunch
        ud2                             /* the entry has failed */
1:      vmresume
        ud2
ept_exit:
        pop     %r15
        pop     %r14
        pop     %r13
        pop     %r12
        pop     %rbp
        pop     %rbx
        ret

        .balign 16
ept_stubs:
        mov     (%rax), %cl             /* 16 bytes each, in the order of `enum access` */
        vmcall
        .balign 16
        mov     %cl, (%rax)
        vmcall
        .balign 16
        call    *%rax
        vmcall
