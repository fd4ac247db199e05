/* A PVM guest that is its host's enemy: the little that the host wants to find in one. */
#include "abi.h"

        .text
        .globl  _start
_start: lea     stack_top(%rip), %rsp
        xor     %ebp, %ebp
        call    hostile_main
        ud2

/* Events in user mode, and 512 bytes behind them those in the kernel.  No attack goes on where it was, but for one that naps. */
        .balign 64
        .globl  event_entry
event_entry:
        lea     stack_top(%rip), %rsp
        mov     $1, %edi
        call    hostile_event
        ud2
        .org    event_entry + 512, 0xcc
        cmpb    $32, pvcs+PVCS_VECTOR(%rip)
        jb      1f
        movw    $0, pvcs+PVCS_VECTOR(%rip)
        jmp     *pvcs+PVCS_RIP(%rip)            /* behind the hypercall, which leaves RCX and R11 to us */
1:      lea     event_stack_top(%rip), %rsp
        xor     %edi, %edi
        call    hostile_event
        ud2

        .globl  to_user_mode, return_instruction
to_user_mode:
        movw    $PVM_EVENT_VECTOR_STD, pvcs+PVCS_VECTOR(%rip)
return_instruction:
        syscall
        ret

        .bss
        .globl  pvcs
        .balign 4096
pvcs:   .fill   4096
        .fill   16384
stack_top:
        .fill   4096
event_stack_top:
