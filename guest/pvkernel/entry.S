/* Every way in and out of a container kernel that is a PVM guest.  The stack pointer is still what it was: an event leaves
 * RIP, RFLAGS, RCX and R11, and of user mode what else changed, in the PVCS.  struct trapframe: guest/x86/frame.h.
 */
#include "abi.h"
#include "frame.h"

#define PVCS(field) pvcs + field(%rip)

        .macro  PUSH_USER_FRAME name            /* onto the thread's own stack */
.Lentered_\name:
        mov     %rsp, %rcx
.Lentered_\name\()_end:
.Lswitching_\name:
        mov     kernel_stack(%rip), %rsp
        movzwl  PVCS(PVCS_USER_SS), %r11d
        push    %r11
        push    %rcx
        mov     PVCS(PVCS_EFLAGS), %r11d
        push    %r11
        movzwl  PVCS(PVCS_USER_CS), %r11d
        push    %r11
        push    PVCS(PVCS_RIP)
.Lswitching_\name\()_end:
        UNWIND_RULES entered_\name
        CFA_REGISTER rsp
        WAITING_IN_PVCS
        UNWIND_DONE entered_\name
        UNWIND_RULES switching_\name
        CFA_REGISTER rcx
        WAITING_IN_PVCS
        UNWIND_DONE switching_\name
        .endm

        .macro  WAITING_IN_PVCS
        REGISTER_AT rip, pvcs + PVCS_RIP
        REGISTER_AT rcx, pvcs + PVCS_RCX
        REGISTER_AT r11, pvcs + PVCS_R11
        .endm

        .macro  PUSH_EVENT                      /* error code and vector; the fields are free for the next event */
        movzwl  PVCS(PVCS_ERRCODE), %r11d
        PUSH_OTHER %r11
        movzbl  PVCS(PVCS_VECTOR), %r11d
        PUSH_OTHER %r11
        .endm

        .macro  CALL function
        mov     PVCS(PVCS_RCX), %rcx
        mov     PVCS(PVCS_R11), %r11
        SAVE_REGISTERS
        movw    $0, PVCS(PVCS_VECTOR)
        mov     %rsp, %rdi
        mov     PVCS(PVCS_CR2), %rsi
        xor     %ebp, %ebp
        call    \function
        .endm

        .text
        UNWIND_TABLES
/* LSTAR: a system call. */
        .globl  syscall_entry
syscall_entry:
        PUSH_USER_FRAME calling
        UNWIND_FRAME calling, 40
        PUSH_OTHER $0
        PUSH_OTHER $VEC_SYSCALL
        CALL    trap
        jmp     return_to_user_mode
        UNWIND_STOP calling

        .globl  plat_enter_user
plat_enter_user:
        mov     %rdi, %rsp
return_to_user_mode:
        UNWIND_WHOLE returning
        RESTORE_CALLEE_SAVED
        orw     $PVM_EVENT_VECTOR_STD, PVCS(PVCS_VECTOR)
        pop     PVCS(PVCS_R11)
        POPPED  8
        POP     r10
        POP     r9
        POP     r8
        POP     rax
        pop     PVCS(PVCS_RCX)
        POPPED  8
        POP     rdx
        POP     rsi
        POP     rdi
        DROP    16
        UNWIND_STOP returning
        UNWIND_FRAME storing, 40
        pop     PVCS(PVCS_RIP)
        POPPED  8
        pop     %rcx
        POPPED  8
        mov     %cx, PVCS(PVCS_USER_CS)
        pop     %rcx
        POPPED  8
        mov     %ecx, PVCS(PVCS_EFLAGS)
        mov     8(%rsp), %rcx
        mov     %cx, PVCS(PVCS_USER_SS)
        mov     (%rsp), %rsp
        UNWIND_STOP storing
        .globl  return_instruction
return_instruction:
.Lleaving:
        syscall
.Lleaving_end:
        UNWIND_RULES leaving
        CFA_REGISTER rsp
        WAITING_IN_PVCS
        UNWIND_DONE leaving

/* Events in user mode, and 512 bytes behind them those in the kernel: an interrupt while it waits, or its own fault. */
        .balign 64
        .globl  event_entry
event_entry:
        PUSH_USER_FRAME event
        UNWIND_FRAME event, 40
        PUSH_EVENT
        CALL    event
        jmp     return_to_user_mode
        UNWIND_STOP event

        .org    event_entry + 512, 0xcc
.Lfailing:
        mov     %rsp, %rcx
.Lfailing_end:
.Lpushing:
        push    $0
        push    %rcx
        mov     PVCS(PVCS_EFLAGS), %r11d
        push    %r11
        push    $0                              /* CS: no user mode */
        push    PVCS(PVCS_RIP)
.Lpushing_end:
        UNWIND_FRAME inside, 40
        PUSH_EVENT
        CALL    event
        RESTORE_REGISTERS
        mov     (%rsp), %r11                    /* lost, as behind any hypercall */
        UNWIND_STOP inside
.Lresuming:
        mov     24(%rsp), %rsp
.Lresuming_end:
.Lresumed:
        jmp     *%r11
.Lresumed_end:
        UNWIND_RULES failing, signal
        CFA_REGISTER rsp
        WAITING_IN_PVCS
        UNWIND_DONE failing
        UNWIND_RULES pushing, signal
        CFA_REGISTER rcx
        WAITING_IN_PVCS
        UNWIND_DONE pushing
        UNWIND_RULES resuming, signal
        CFA_REGISTER rsp, 40
        REGISTER_SAVED rip, 40
        REGISTER_SAVED rsp, 16
        UNWIND_DONE resuming
        UNWIND_RULES resumed, signal
        CFA_REGISTER rsp
        REGISTER_IN rip, r11
        UNWIND_DONE resumed

/* The first instruction: RDI is struct gk_boot. */
        .globl  _start
_start:
.Lbooting:
        lea     boot_stack_top(%rip), %rsp
        xor     %ebp, %ebp
        call    pvkernel_main
        ud2
.Lbooting_end:
        UNWIND_BOTTOM booting

        .bss
        .globl  pvcs, kernel_stack
        .balign 128
pvcs:   .fill   128
kernel_stack: .quad 0
        .balign 16
        .fill   16384
boot_stack_top:
