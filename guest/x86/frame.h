/* The parts of a way into a kernel and out of it.  One picture, struct trapframe:
 *
 *   0 r15  8 r14 16 r13 24 r12 32 rbp 40 rbx │ 48 r11 56 r10 64 r9 72 r8 80 rax 88 rcx 96 rdx 104 rsi 112 rdi
 *   120 vector 128 error │ 136 rip 144 cs 152 rflags 160 rsp 168 ss       (the last five: what IRET takes)
 */
#ifndef FRAME_H
#define FRAME_H

#define VEC_SYSCALL 256

        .macro  SAVE_REGISTERS
        push    %rdi
        push    %rsi
        push    %rdx
        push    %rcx
        push    %rax
        push    %r8
        push    %r9
        push    %r10
        push    %r11
        push    %rbx
        push    %rbp
        push    %r12
        push    %r13
        push    %r14
        push    %r15
        .endm

        .macro  RESTORE_CALLEE_SAVED
        pop     %r15
        pop     %r14
        pop     %r13
        pop     %r12
        pop     %rbp
        pop     %rbx
        .endm

        .macro  RESTORE_REGISTERS               /* and leave the IRET frame */
        RESTORE_CALLEE_SAVED
        pop     %r11
        pop     %r10
        pop     %r9
        pop     %r8
        pop     %rax
        pop     %rcx
        pop     %rdx
        pop     %rsi
        pop     %rdi
        add     $16, %rsp
        .endm

/* Sleep until an interrupt; STI's shadow lets none slip in between. */
        .macro  SLEEP_UNTIL_INTERRUPT
        .globl  sleep_until_interrupt
sleep_until_interrupt:
        sti
        hlt
        cli
        ret
        .endm

/* Vectors 0..128, 16 bytes each (those from 48 on stand there for open_gate()).  8, 10-14, 17, 21, 29 and 30 push an error code themselves. */
        .macro  TRAP_STUBS
        .balign 16
        .globl  trap_stubs
trap_stubs:
        vector = 0
        .rept 129
        .balign 16
        .if !((vector == 8) || (vector >= 10 && vector <= 14) || (vector == 17) || (vector == 21) || (vector == 29) || (vector == 30))
        push    $0
        .endif
        pushq   $vector
        jmp     trap_entry
        vector = vector + 1
        .endr

        .globl  spurious_stub
spurious_stub:
        iretq
        .endm

#endif
