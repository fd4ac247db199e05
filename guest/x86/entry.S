/* Every way in and out of the kernel.
 *
 * One vCPU: the stack of the thread that runs is found at a fixed address, so no
 * SWAPGS is needed.
 */
#include "frame.h"
#include "selectors.h"

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
.Lsysret:
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
        RESTORE_REGISTERS
        iretq

        .globl  plat_enter_user, return_by_sysret
plat_enter_user:
        mov     %rdi, %rsp
        jmp     trap_return

return_by_sysret:
        mov     %rdi, %rsp
        jmp     .Lsysret

        SLEEP_UNTIL_INTERRUPT
        TRAP_STUBS

        .bss
        .globl  kernel_stack
        .align 8
kernel_stack: .quad 0
user_rsp:     .quad 0
