/* The loops that `paracell bench` times.  Those of the first half stand alone, so that a bare engine can run the same bytes. */

        .text
        .globl  _start, bench_straight, bench_touch, bench_fault, skip_instruction
        .globl  bench_vmread, vmx_run, vmx_exit, guest_start
        .type   bench_straight, @function
        .type   bench_touch, @function

_start: lea     stack_top(%rip), %rsp
        mov     %ebx, %edi              /* boot information */
        call    bench_main

/* bench_straight(count): arithmetic and stack traffic, no event. */
bench_straight:
        mov     $1, %eax
1:      imul    $33, %rax, %rax
        mov     %rax, -16(%rsp)
        add     %rdi, %rax
        ror     $7, %rax
        xor     -16(%rsp), %rax
        lea     3(%rax,%rax,2), %rdx
        sub     %rdx, %rax
        dec     %rdi
        jnz     1b
        ret
        .size   bench_straight, . - bench_straight

/* bench_touch(base, pages): one load from each page. */
bench_touch:
1:      mov     (%rdi), %al
        add     $4096, %rdi
        dec     %rsi
        jnz     1b
        ret
        .size   bench_touch, . - bench_touch

/* bench_fault(address, count): `count` loads that fault, each skipped by the handler. */
bench_fault:
1:      mov     (%rdi), %al             /* 2 bytes */
        dec     %rsi
        jnz     1b
        ret

skip_instruction:
        add     $8, %rsp                /* the error code */
        addq    $2, (%rsp)
        iretq

/* bench_vmread(count) */
bench_vmread:
        mov     $0x681e, %eax           /* GUEST_RIP */
1:      vmread  %rax, %rdx
        dec     %rdi
        jnz     1b
        ret

/* vmx_run(body, argument, exits): enter the guest, and again after each exit but the last. */
vmx_run:
        push    %rbx
        push    %rbp
        push    %r12
        push    %r13
        push    %r14
        push    %r15
        mov     %rdx, %r15
        mov     $0x6c14, %eax           /* HOST_RSP */
        vmwrite %rsp, %rax
        mov     %rdi, %rax
        mov     %rsi, %rdi
        vmlaunch
        ud2                             /* the entry has failed */
vmx_exit:
        dec     %r15
        jz      1f
        vmresume
        ud2
1:      pop     %r15
        pop     %r14
        pop     %r13
        pop     %r12
        pop     %rbp
        pop     %rbx
        ret

guest_start:
        call    *%rax
1:      vmcall
        jmp     1b

        .bss
        .balign 4096
        .skip   16384
stack_top:
