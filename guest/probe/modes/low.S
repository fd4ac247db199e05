/* 16-bit code, which runs as a copy at LOW: into real mode, and back from its interrupts.  CS covers the copy, so every address is one in it. */
#include "modes.h"

#define HERE(label) (label - low_start)
#define BEFORE(field) %cs:(BEFORE_OFFSET + field)
#define AFTER(field) %cs:(AFTER_OFFSET + field)

        .text
        .code16
        .globl low_start, low_end
low_start:
        mov     $DATA16, %ax                    /* limits of 64 KiB, which real mode keeps */
        mov     %ax, %ds
        mov     %ax, %es
        mov     %ax, %ss
        mov     %ax, %fs
        mov     %ax, %gs
        mov     %cr0, %eax
        and     $0xfffffffe, %eax
        mov     %eax, %cr0
        ljmp    $LOW_SELECTOR, $HERE(real)

real:   mov     BEFORE(ST_SS), %ss
        mov     BEFORE(ST_ESP), %esp
        mov     BEFORE(ST_ES), %es
        mov     BEFORE(ST_DS), %ds
        mov     BEFORE(ST_FS), %fs
        mov     BEFORE(ST_GS), %gs
        pushw   BEFORE(ST_EFLAGS)
        pushw   BEFORE(ST_CS)
        pushw   BEFORE(ST_EIP)
        mov     BEFORE(ST_GENERAL), %eax
        mov     BEFORE(ST_GENERAL + 4), %ecx
        mov     BEFORE(ST_GENERAL + 8), %edx
        mov     BEFORE(ST_GENERAL + 12), %ebx
        mov     BEFORE(ST_GENERAL + 20), %ebp
        mov     BEFORE(ST_GENERAL + 24), %esi
        mov     BEFORE(ST_GENERAL + 28), %edi
        iretw

        .balign STUB_SIZE
        .globl real_stubs
real_stubs:
        vector = 0
        .rept   GATES
        .balign STUB_SIZE
        pushw   $vector
        jmp     interrupted
        vector = vector + 1
        .endr

interrupted:                                    /* on the stack: vector, IP, CS, FLAGS */
        mov     %eax, AFTER(ST_GENERAL)
        mov     %ecx, AFTER(ST_GENERAL + 4)
        mov     %edx, AFTER(ST_GENERAL + 8)
        mov     %ebx, AFTER(ST_GENERAL + 12)
        mov     %ebp, AFTER(ST_GENERAL + 20)
        mov     %esi, AFTER(ST_GENERAL + 24)
        mov     %edi, AFTER(ST_GENERAL + 28)
        popw    AFTER(ST_VECTOR)
        popw    AFTER(ST_EIP)
        popw    AFTER(ST_CS)
        popw    AFTER(ST_EFLAGS)
        mov     %esp, AFTER(ST_ESP)
        mov     %es, AFTER(ST_ES)
        mov     %ss, AFTER(ST_SS)
        mov     %ds, AFTER(ST_DS)
        mov     %fs, AFTER(ST_FS)
        mov     %gs, AFTER(ST_GS)
        lgdtl   %cs:HERE(low_gdtr)
        mov     %cr0, %eax
        or      $1, %al
        mov     %eax, %cr0
        ljmpl   $CODE32, $go_up

low_gdtr:
        .word   TASK + 7
        .long   monitor_gdt
low_end:
