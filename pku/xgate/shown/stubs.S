/* What rewrite.c writes behind a program's system calls, for a debugger to know it by: nothing loads this.  gdb is told where the
 * stubs of a program begin (paracell/debug/files.py), so that `step` finds a function there, and `bt` the way back.
 *
 *   xgate_stub_N:  mov $nr, %eax │ lea back(%rip), %rcx │ movabs $xgate_entry, %r11 │ jmp *%r11       32 bytes each
 */
#include "unwind.h"

#define FOUR(x) x; x; x; x

/* RIP of the caller is where LEA points: behind the SYSCALL, which is still there. */
        .macro  RIP_BY_LEA              /* DW_CFA_val_expression */
        .byte   0x16, .Ldw_rip, .Lexpression_end - .Lexpression
.Lexpression:
        .byte   0x80, 0                 /* DW_OP_breg16: where in the stub, */
        .byte   0x09, -32, 0x1a         /* DW_OP_const1s, DW_OP_and: its beginning */
        .byte   0x12, 0x23, 8, 0x94, 4  /* DW_OP_dup, DW_OP_plus_uconst, DW_OP_deref_size: the displacement, */
        .byte   0x08, 32, 0x24, 0x08, 32, 0x26  /* DW_OP_const1u, DW_OP_shl, DW_OP_const1u, DW_OP_shra: with its sign */
        .byte   0x22, 0x23, 12          /* DW_OP_plus, DW_OP_plus_uconst: from the end of LEA on */
.Lexpression_end:
        .endm

        .section .stubs, "awx", @progbits       /* writable, so that gdb reads the machine and not this file */
        .globl  _start
_start:
.Lstubs:
        .macro  STUB
        .type   xgate_stub_\@, @function
xgate_stub_\@:
        mov     $0, %eax
        lea     0(%rip), %rcx
        movabs  $0, %r11
        jmp     *%r11
        .balign 32
        .size   xgate_stub_\@, 32
        .endm

        FOUR(FOUR(FOUR(FOUR(STUB))))    /* 256, more than a program of ours has */
.Lstubs_end:
        UNWIND_TABLES
        UNWIND_RULES stubs
        CFA_REGISTER rsp
        RIP_BY_LEA
        UNWIND_DONE stubs
