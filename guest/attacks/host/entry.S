/* A container kernel that is its host's enemy: the little that the host wants to find in one. */
#include "abi.h"

        .text
        .globl  _start
_start: lea     stack_top, %rsp
        xor     %ebp, %ebp
        call    hostile_main
        ud2

/* The host brings events here: RDI the frame, RSI the address. */
event_entry:
        xor     %ebp, %ebp
        call    hostile_event
        ud2

nowhere:
        ud2

        .section .header, "a"
        .quad   GK_MAGIC, _start, event_entry
        .quad   kernel_text, kernel_rodata
        .quad   nowhere
        .quad   hostile_vcpu, scratch
        .quad   nowhere, nowhere
        .quad   nowhere, nowhere, nowhere

        .section .scratch, "aw", @nobits
        .align  4096
scratch:
        .fill   4096

        .bss
        .align  4096
        .globl  hostile_vcpu
hostile_vcpu:
        .fill   4096
        .fill   16384
        .globl  stack_top
stack_top:
        .fill   4096
