/* Every way in and out of the kernel.  One picture, struct trapframe:
 *
 *   0 r15  8 r14 16 r13 24 r12 32 rbp 40 rbx │ 48 r11 56 r10 64 r9 72 r8 80 rax 88 rcx 96 rdx 104 rsi 112 rdi
 *   120 vector 128 error │ 136 rip 144 cs 152 rflags 160 rsp 168 ss       (the last five: what IRET takes)
 *
 * One vCPU: the stack of the thread that runs is found at a fixed address, so no
 * SWAPGS is needed.
 */
#include "selectors.h"

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

        .text
/* SYSCALL: RIP is in RCX, RFLAGS in R11, RSP still the user's, IF DF TF AC clear. */
        .globl  syscall_entry
syscall_entry:
        mov     %rsp, user_rsp
        mov     kernel_stack, %rsp
        push    $USER_SS
        push    user_rsp
        push    %r11
        push    $USER_CS
        push    %rcx
        push    $0
        push    $VEC_SYSCALL
        SAVE_REGISTERS
        mov     %rsp, %rdi
        xor     %esi, %esi
        xor     %ebp, %ebp
        call    trap
        cmpl    $VEC_SYSCALL, 120(%rsp)         /* the kernel wants all registers restored? */
        jne     trap_return
        mov     136(%rsp), %rcx
        mov     %rcx, %rax                      /* SYSRET faults in ring 0 on a non-canonical RIP */
        shl     $16, %rax
        sar     $16, %rax
        cmp     %rcx, %rax
        jne     trap_return
        RESTORE_CALLEE_SAVED
        add     $8, %rsp                        /* R11 becomes RFLAGS, RCX is RIP */
        pop     %r10
        pop     %r9
        pop     %r8
        pop     %rax
        add     $8, %rsp
        pop     %rdx
        pop     %rsi
        pop     %rdi
        mov     32(%rsp), %r11
        mov     40(%rsp), %rsp
        sysretq

/* Exceptions and interrupts: the stubs below push vector and error code. */
trap_entry:
        SAVE_REGISTERS
        cld
        mov     %rsp, %rdi
        xor     %esi, %esi
        cmpl    $14, 120(%rsp)
        jne     1f
        mov     %cr2, %rsi
1:      xor     %ebp, %ebp
        call    arch_trap
trap_return:
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
        iretq

        .globl  plat_enter_user
plat_enter_user:
        mov     %rdi, %rsp
        jmp     trap_return

/* Sleep until an interrupt; STI's shadow lets none slip in between. */
        .globl  sleep_until_interrupt
sleep_until_interrupt:
        sti
        hlt
        cli
        ret

/* Vectors 0..128, 16 bytes each (those from 48 on stand there for open_gate()).  8, 10-14, 17, 21, 29 and 30 push an error code themselves. */
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

        .bss
        .globl  kernel_stack
        .align 8
kernel_stack: .quad 0
user_rsp:     .quad 0
