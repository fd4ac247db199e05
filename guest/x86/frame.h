/* The parts of a way into a kernel and out of it.  One picture, struct trapframe:
 *
 *   0 r15  8 r14 16 r13 24 r12 32 rbp 40 rbx │ 48 r11 56 r10 64 r9 72 r8 80 rax 88 rcx 96 rdx 104 rsi 112 rdi
 *   120 vector 128 error │ 136 rip 144 cs 152 rflags 160 rsp 168 ss       (the last five: what IRET takes)
 */
#ifndef FRAME_H
#define FRAME_H

#include "unwind.h"

#define VEC_SYSCALL 256

        .macro  SAVE_REGISTERS
        PUSH    rdi
        PUSH    rsi
        PUSH    rdx
        PUSH    rcx
        PUSH    rax
        PUSH    r8
        PUSH    r9
        PUSH    r10
        PUSH    r11
        PUSH    rbx
        PUSH    rbp
        PUSH    r12
        PUSH    r13
        PUSH    r14
        PUSH    r15
        .endm

        .macro  RESTORE_CALLEE_SAVED
        POP     r15
        POP     r14
        POP     r13
        POP     r12
        POP     rbp
        POP     rbx
        .endm

        .macro  RESTORE_REGISTERS               /* and leave the IRET frame */
        RESTORE_CALLEE_SAVED
        POP     r11
        POP     r10
        POP     r9
        POP     r8
        POP     rax
        POP     rcx
        POP     rdx
        POP     rsi
        POP     rdi
        DROP    16
        .endm

/* Sleep until an interrupt; STI's shadow lets none slip in between. */
        .macro  SLEEP_UNTIL_INTERRUPT
        .globl  sleep_until_interrupt
sleep_until_interrupt:
        UNWIND_CALLED sleeping
        sti
        hlt
        cli
        ret
        UNWIND_STOP sleeping
        .endm

/* Vectors 0..128, 16 bytes each (those from 48 on stand there for open_gate()).  8, 10-14, 17, 21, 29 and 30 push an error code themselves. */
        .macro  TRAP_STUBS
        .balign 16
        .globl  trap_stubs
trap_stubs:
        UNWIND_FRAME stubs, 40
        vector = 0
        .rept 129
        .balign 16
        .if !((vector == 8) || (vector >= 10 && vector <= 14) || (vector == 17) || (vector == 21) || (vector == 29) || (vector == 30))
        BELOW   40
        PUSH_OTHER $0
        .else
        BELOW   48
        .endif
        PUSH_OTHER $vector
        jmp     trap_entry
        vector = vector + 1
        .endr
        UNWIND_STOP stubs

        .globl  spurious_stub
spurious_stub:
        UNWIND_FRAME spurious, 40
        iretq
        UNWIND_STOP spurious
        .endm

#endif
