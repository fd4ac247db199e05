/* Every way in and out of the kernel.
 *
 * One vCPU: the stack of the thread that runs is found at a fixed address, so no
 * SWAPGS is needed.
 */
#include "frame.h"
#include "selectors.h"

        .text
        UNWIND_TABLES
/* SYSCALL: RIP is in RCX, RFLAGS in R11, RSP still the user's, IF DF TF AC clear. */
        .globl  syscall_entry
syscall_entry:
.Lentered:
        mov     %rsp, user_rsp
.Lentered_end:
.Lswitching:
        mov     kernel_stack, %rsp
        push    $USER_SS
        push    user_rsp
        push    %r11
        push    $USER_CS
        push    %rcx
.Lswitching_end:
        UNWIND_FRAME calling, 40
        PUSH_OTHER $0
        PUSH_OTHER $VEC_SYSCALL
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
        DROP    8                               /* R11 becomes RFLAGS, RCX is RIP */
        POP     r10
        POP     r9
        POP     r8
        POP     rax
        DROP    8
        POP     rdx
        POP     rsi
        POP     rdi
        mov     32(%rsp), %r11
        mov     40(%rsp), %rsp
        UNWIND_STOP calling
.Lleaving:
        sysretq
.Lleaving_end:

        UNWIND_RULES entered
        CFA_REGISTER rsp
        REGISTER_IN rip, rcx
        REGISTER_IN rflags, r11
        UNWIND_DONE entered
        UNWIND_RULES switching
        CFA_IN  user_rsp
        REGISTER_IN rip, rcx
        REGISTER_IN rflags, r11
        UNWIND_DONE switching
        UNWIND_RULES leaving
        CFA_REGISTER rsp
        REGISTER_IN rip, rcx
        REGISTER_IN rflags, r11
        UNWIND_DONE leaving

/* Exceptions and interrupts: the stubs below push vector and error code. */
trap_entry:
        UNWIND_FRAME trapping, 56
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
        UNWIND_STOP trapping

        .globl  plat_enter_user, return_by_sysret
plat_enter_user:
        mov     %rdi, %rsp
        UNWIND_WHOLE entering
        jmp     trap_return
        UNWIND_STOP entering

return_by_sysret:
        mov     %rdi, %rsp
        UNWIND_WHOLE returning
        jmp     .Lsysret
        UNWIND_STOP returning

        SLEEP_UNTIL_INTERRUPT
        TRAP_STUBS

        .bss
        .globl  kernel_stack
        .align 8
kernel_stack: .quad 0
user_rsp:     .quad 0
