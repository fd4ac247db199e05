/* VM entry, and where VM exits come.
 *
 *   host's stack from vm_enter() on:   callee-saved registers, struct vcpu *   ← HOST_RSP
 */
#include "unwind.h"
#include "vmcs.h"

#define HOST_RSP_AT 128         /* in struct vcpu, behind the registers */

        .macro  MOVE_REGISTERS op
        \op     0, %rax
        \op     8, %rcx
        \op     16, %rdx
        \op     24, %rbx
        \op     40, %rbp
        \op     48, %rsi
        \op     64, %r8
        \op     72, %r9
        \op     80, %r10
        \op     88, %r11
        \op     96, %r12
        \op     104, %r13
        \op     112, %r14
        \op     120, %r15
        .endm

        .macro  LOAD offset, register
        mov     \offset(%rdi), \register
        .endm

        .macro  SAVE offset, register
        mov     \register, \offset(%rdi)
        .endm

        .text
        UNWIND_TABLES
        .globl  vm_enter
vm_enter:                               /* RDI: struct vcpu *, ESI: has it been launched? */
        UNWIND_CALLED entering
        PUSH    rbx
        PUSH    rbp
        PUSH    r12
        PUSH    r13
        PUSH    r14
        PUSH    r15
        PUSH_OTHER %rdi
        cmp     %rsp, HOST_RSP_AT(%rdi) /* nearly always the same */
        je      1f
        mov     %rsp, HOST_RSP_AT(%rdi)
        mov     $HOST_RSP, %eax
        vmwrite %rsp, %rax
1:      test    %esi, %esi
        MOVE_REGISTERS LOAD
        mov     56(%rdi), %rdi
        je      2f
        vmresume
        jmp     3f
2:      vmlaunch
3:      pop     %rdi                    /* it failed */
        POPPED  8
        xor     %eax, %eax
        jmp     4f

        .globl  vm_exit
vm_exit:                                /* HOST_RIP */
        BELOW   64
        xchg    %rdi, (%rsp)            /* the guest's RDI ↔ struct vcpu * */
        MOVE_REGISTERS SAVE
        pop     56(%rdi)
        POPPED  8
.Lsaved:
        mov     $1, %eax
4:      POP     r15
        POP     r14
        POP     r13
        POP     r12
        POP     rbp
        POP     rbx
        ret
        UNWIND_STOP entering

#ifdef UNWIND
/* What lies between vcpu_run() and the guest, for gdb: the VMCS has the guest's RIP and RSP, which no rule reaches.  gdb_frames.py asks
 * the machine for them, and gives vcpu_run() a caller at vm_left, where nothing is ever fetched: RIP in R11, all else the guest's.
 */
        .globl  vm_exit_saved, vm_left
        .set    vm_exit_saved, .Lsaved
        .set    vm_left, 0xfffffffffffff000
        .set    .Lleft, vm_left
        .set    .Lleft_end, vm_left + 16
        UNWIND_RULES left, signal
        CFA_REGISTER rsp
        REGISTER_IN rip, r11
        .byte   0x07, .Ldw_r11                  /* DW_CFA_undefined */
        UNWIND_DONE left
#endif
