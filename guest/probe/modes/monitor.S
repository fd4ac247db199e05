/* From 64-bit code down to real or virtual-8086 mode, and up again. */
#include "modes.h"

#define CR0_PG_BIT 31
#define EFER 0xc0000080
#define EFER_LME 0x100
#define VM 0x20000
#define HAS_ERROR 0x00027d00                    /* one bit for each vector with an error code: 8, 10 to 14, 17 */
#define BEFORE(field) (LOW + BEFORE_OFFSET + field)
#define AFTER(field) (LOW + AFTER_OFFSET + field)

        .text
        .code64
        .globl  enter_mode
enter_mode:
        push    %rbx
        push    %rbp
        push    %r12
        push    %r13
        push    %r14
        push    %r15
        pushfq
        mov     %rsp, saved_rsp
        mov     %edi, mode
        lgdt    monitor_gdtr
        pushq   $CODE32
        pushq   $go_down
        lretq

        .code32
go_down:
        mov     $DATA32, %eax
        mov     %eax, %ds
        mov     %eax, %es
        mov     %eax, %ss
        mov     $MONITOR_STACK, %esp
        mov     %cr0, %eax
        btr     $CR0_PG_BIT, %eax
        mov     %eax, %cr0
        mov     $EFER, %ecx
        rdmsr
        and     $~EFER_LME, %eax
        wrmsr
        cmpl    $REAL, mode
        jne     down_to_v86
        lidt    real_idtr
        ljmp    $CODE16, $0

down_to_v86:
        lidt    monitor_idtr
        movb    $0x89, monitor_gdt + TASK + 5   /* the TSS is not busy */
        mov     $TASK, %eax
        ltr     %ax
        movzwl  BEFORE(ST_GS), %eax
        push    %eax
        movzwl  BEFORE(ST_FS), %eax
        push    %eax
        movzwl  BEFORE(ST_DS), %eax
        push    %eax
        movzwl  BEFORE(ST_ES), %eax
        push    %eax
        movzwl  BEFORE(ST_SS), %eax
        push    %eax
        pushl   BEFORE(ST_ESP)
        pushl   BEFORE(ST_EFLAGS)
        orl     $VM, (%esp)
        pushl   BEFORE(ST_CS)
        pushl   BEFORE(ST_EIP)
        mov     BEFORE(ST_GENERAL), %eax
        mov     BEFORE(ST_GENERAL + 4), %ecx
        mov     BEFORE(ST_GENERAL + 8), %edx
        mov     BEFORE(ST_GENERAL + 12), %ebx
        mov     BEFORE(ST_GENERAL + 20), %ebp
        mov     BEFORE(ST_GENERAL + 24), %esi
        mov     BEFORE(ST_GENERAL + 28), %edi
        iretl

        .balign STUB_SIZE
        .globl  monitor_stubs
monitor_stubs:
        vector = 0
        .rept   GATES
        .balign STUB_SIZE
        push    $vector
        jmp     interrupted32
        vector = vector + 1
        .endr

interrupted32:                                  /* vector, (error code,) EIP, CS, EFLAGS, ESP, SS, ES, DS, FS, GS */
        push    %ds                             /* null, behind virtual-8086 mode */
        push    %eax
        mov     $DATA32, %eax
        mov     %eax, %ds
        pop     AFTER(ST_GENERAL)
        pop     %eax
        mov     %ecx, AFTER(ST_GENERAL + 4)
        mov     %edx, AFTER(ST_GENERAL + 8)
        mov     %ebx, AFTER(ST_GENERAL + 12)
        mov     %ebp, AFTER(ST_GENERAL + 20)
        mov     %esi, AFTER(ST_GENERAL + 24)
        mov     %edi, AFTER(ST_GENERAL + 28)
        pop     %eax
        mov     %eax, AFTER(ST_VECTOR)
        cmp     $31, %eax
        ja      1f
        mov     $HAS_ERROR, %ecx
        bt      %eax, %ecx
        jnc     1f
        pop     AFTER(ST_ERROR)
1:      pop     AFTER(ST_EIP)
        pop     AFTER(ST_CS)
        pop     AFTER(ST_EFLAGS)
        pop     AFTER(ST_ESP)
        pop     %eax
        mov     %ax, AFTER(ST_SS)
        pop     %eax
        mov     %ax, AFTER(ST_ES)
        pop     %eax
        mov     %ax, AFTER(ST_DS)
        pop     %eax
        mov     %ax, AFTER(ST_FS)
        pop     %eax
        mov     %ax, AFTER(ST_GS)

        .globl  go_up
go_up:  mov     $DATA32, %eax
        mov     %eax, %ds
        mov     %eax, %es
        mov     %eax, %ss
        mov     $MONITOR_STACK, %esp
        mov     $EFER, %ecx
        rdmsr
        or      $EFER_LME, %eax
        wrmsr
        mov     %cr0, %eax
        bts     $CR0_PG_BIT, %eax
        mov     %eax, %cr0
        ljmp    $CODE64, $up

        .code64
up:     xor     %eax, %eax
        mov     %eax, %ds
        mov     %eax, %es
        mov     %eax, %ss
        mov     %eax, %fs
        mov     %eax, %gs
        mov     saved_rsp, %rsp
        popfq
        pop     %r15
        pop     %r14
        pop     %r13
        pop     %r12
        pop     %rbp
        pop     %rbx
        ret

        .data
        .balign 8
        .globl  monitor_gdt
monitor_gdt:
        .quad   0
        .quad   0x00af9b000000ffff              /* CODE64 */
        .quad   0x00cf9b000000ffff              /* CODE32 */
        .quad   0x00cf93000000ffff              /* DATA32 */
        .quad   0x00009b000000ffff | LOW << 16  /* CODE16, over low.S */
        .quad   0x000093000000ffff              /* DATA16 */
        .quad   0x0000890000000000 | (TSS_SIZE - 1) | TSS_AT << 16
monitor_gdtr:
        .word   TASK + 7
        .quad   monitor_gdt
real_idtr:
        .word   4 * GATES - 1
        .long   0
monitor_idtr:
        .word   8 * GATES - 1
        .long   monitor_idt

        .bss
        .balign 8
saved_rsp: .quad 0
mode:   .long 0
