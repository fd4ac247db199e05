/* Into the guest and back. */
#define HOST_RSP 0x6c14

        .text
/* u64 enter(u64 resume): 0 behind an exit; 1 for VMfailInvalid, 2 for VMfailValid. */
        .globl  enter, back
enter:
        push    %rbx
        push    %rbp
        push    %r12
        push    %r13
        push    %r14
        push    %r15
        mov     $HOST_RSP, %eax
        vmwrite %rsp, %rax
        test    %rdi, %rdi
        jnz     1f
        vmlaunch
        jmp     2f
1:      vmresume
2:      setc    %al
        setz    %cl
        movzbl  %al, %eax
        movzbl  %cl, %ecx
        lea     (%rax, %rcx, 2), %eax
        jmp     3f
back:   xor     %eax, %eax
3:      pop     %r15
        pop     %r14
        pop     %r13
        pop     %r12
        pop     %rbp
        pop     %rbx
        ret

/* All that a guest does, and its handlers. */
        .globl  guest_code
        .balign 16
guest_code:
        vmcall
