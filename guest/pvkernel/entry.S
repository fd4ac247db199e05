/* Every way in and out of a container kernel that is a PVM guest.  The stack pointer is still what it was: an event leaves
 * RIP, RFLAGS, RCX and R11, and of user mode what else changed, in the PVCS.  struct trapframe: guest/x86/frame.h.
 */
#include "abi.h"
#include "frame.h"

#define PVCS(field) pvcs + field(%rip)

        .macro  PUSH_USER_FRAME                 /* onto the thread's own stack */
        mov     %rsp, %rcx
        mov     kernel_stack(%rip), %rsp
        movzwl  PVCS(PVCS_USER_SS), %r11d
        push    %r11
        push    %rcx
        mov     PVCS(PVCS_EFLAGS), %r11d
        push    %r11
        movzwl  PVCS(PVCS_USER_CS), %r11d
        push    %r11
        push    PVCS(PVCS_RIP)
        .endm

        .macro  PUSH_EVENT                      /* error code and vector; the fields are free for the next event */
        movzwl  PVCS(PVCS_ERRCODE), %r11d
        push    %r11
        movzbl  PVCS(PVCS_VECTOR), %r11d
        push    %r11
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
/* LSTAR: a system call. */
        .globl  syscall_entry
syscall_entry:
        PUSH_USER_FRAME
        push    $0
        push    $VEC_SYSCALL
        CALL    trap
        jmp     return_to_user_mode

        .globl  plat_enter_user
plat_enter_user:
        mov     %rdi, %rsp
return_to_user_mode:
        RESTORE_CALLEE_SAVED
        orw     $PVM_EVENT_VECTOR_STD, PVCS(PVCS_VECTOR)
        pop     PVCS(PVCS_R11)
        pop     %r10
        pop     %r9
        pop     %r8
        pop     %rax
        pop     PVCS(PVCS_RCX)
        pop     %rdx
        pop     %rsi
        pop     %rdi
        add     $16, %rsp
        pop     PVCS(PVCS_RIP)
        pop     %rcx
        mov     %cx, PVCS(PVCS_USER_CS)
        pop     %rcx
        mov     %ecx, PVCS(PVCS_EFLAGS)
        mov     8(%rsp), %rcx
        mov     %cx, PVCS(PVCS_USER_SS)
        mov     (%rsp), %rsp
        .globl  return_instruction
return_instruction:
        syscall

/* Events in user mode, and 512 bytes behind them those in the kernel: an interrupt while it waits, or its own fault. */
        .balign 64
        .globl  event_entry
event_entry:
        PUSH_USER_FRAME
        PUSH_EVENT
        CALL    event
        jmp     return_to_user_mode

        .org    event_entry + 512, 0xcc
        mov     %rsp, %rcx
        push    $0
        push    %rcx
        mov     PVCS(PVCS_EFLAGS), %r11d
        push    %r11
        push    $0                              /* CS: no user mode */
        push    PVCS(PVCS_RIP)
        PUSH_EVENT
        CALL    event
        RESTORE_REGISTERS
        mov     (%rsp), %r11                    /* lost, as behind any hypercall */
        mov     24(%rsp), %rsp
        jmp     *%r11

/* The first instruction: RDI is struct gk_boot. */
        .globl  _start
_start:
        lea     boot_stack_top(%rip), %rsp
        xor     %ebp, %ebp
        call    pvkernel_main
        ud2

        .bss
        .globl  pvcs, kernel_stack
        .balign 128
pvcs:   .fill   128
kernel_stack: .quad 0
        .balign 16
        .fill   16384
boot_stack_top:
