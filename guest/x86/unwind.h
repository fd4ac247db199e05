/* How a debugger unwinds assembly, for `bt`, `up` and `finish`: DWARF's call frame information (DWARF 5, "Call Frame Information").
 * No instruction comes of it.  The rules lie in .debug_frame, which is not loaded, and only in the images that gdb reads
 * (build.py --debug); in all others the macros give nothing but the instructions.
 *
 *   RSP ─▶ ┌───────────────────────┐
 *          │ registers             │
 *          │ vector, error code    │
 *          │ RIP CS RFLAGS RSP SS  │  of whoever was interrupted
 *          └───────────────────────┘ ◀─ CFA, the address that a frame goes by
 *
 * As long as RSP is the interrupted one's, the frame is an ordinary one: `step` goes into it, `next` over it.  On the kernel's own
 * stack it is a signal frame, which is what a debugger calls a frame whose caller may be on any other stack.
 * (.cfi directives would not do: they take no address of a variable, and the assembler marks no signal frame in .debug_frame.)
 *
 *   UNWIND_TABLES                           once in a file, before the others
 *   UNWIND_CALLED name … UNWIND_STOP name   around what is called as a C function is
 *   UNWIND_FRAME name, below                from where RSP is so many bytes below the CFA, on the kernel's stack
 *   UNWIND_WHOLE name                       from where RSP is at a whole struct trapframe
 *   UNWIND_RULES name … UNWIND_DONE         for what lies from .Lname to .Lname_end: one rule a register, CFA_… first
 *   UNWIND_BOTTOM name                      nobody has called this: the stack ends
 */
#ifndef UNWIND_H
#define UNWIND_H

/* Instructions that move RSP, and what that changes. */
        .macro  PUSH register
        push    %\register
        PUSHED
        SAVED   \register
        .endm

        .macro  PUSH_OTHER what:vararg          /* no register of the caller's is found by it */
        push    \what
        PUSHED
        .endm

        .macro  POP register
        pop     %\register
        POPPED  8
        SAME    \register
        .endm

        .macro  DROP bytes
        add     $\bytes, %rsp
        POPPED  \bytes
        .endm

#ifdef UNWIND
        .set    .Ldw_rax, 0
        .set    .Ldw_rdx, 1
        .set    .Ldw_rcx, 2
        .set    .Ldw_rbx, 3
        .set    .Ldw_rsi, 4
        .set    .Ldw_rdi, 5
        .set    .Ldw_rbp, 6
        .set    .Ldw_rsp, 7
        .set    .Ldw_r8, 8
        .set    .Ldw_r9, 9
        .set    .Ldw_r10, 10
        .set    .Ldw_r11, 11
        .set    .Ldw_r12, 12
        .set    .Ldw_r13, 13
        .set    .Ldw_r14, 14
        .set    .Ldw_r15, 15
        .set    .Ldw_rip, 16
        .set    .Ldw_rflags, 49

        .macro  TABLE
        .pushsection .debug_frame, "", @progbits
        .endm

        .macro  CIE name, augmentation:vararg
        .balign 8
.Lcie_\name:
        .long   .Lcie_end_\name - .Lcie_of_\name
.Lcie_of_\name:
        .long   0xffffffff
        .byte   1, \augmentation                /* version 1 */
        .uleb128 1                              /* in units of a byte of code, */
        .sleb128 -8                             /* and of so many bytes of stack */
        .byte   .Ldw_rip                        /* where to return to */
        .balign 8
.Lcie_end_\name:
        .endm

        .macro  UNWIND_TABLES
        TABLE
        CIE     called, 0
        CIE     signal, 'S', 0
        .popsection
        .endm

        .macro  FDE kind, name
        .long   .Lfde_end_\name - .Lfde_of_\name
.Lfde_of_\name:
        .long   .Lcie_\kind
        .quad   .L\name, .L\name\()_end - .L\name
        .endm

        .macro  FDE_END name
        .balign 8                               /* with DW_CFA_nop */
.Lfde_end_\name:
        .popsection
        .endm

/* A range whose rules change with RSP.  Its table stays open, for what follows to add to, until UNWIND_STOP. */
        .macro  BEGIN kind, name, below
.L\name:
        .set    .Lbelow, \below
        TABLE
        FDE     \kind, \name
        .byte   0x0c, .Ldw_rsp                  /* DW_CFA_def_cfa */
        .uleb128 .Lbelow
        .endm

        .macro  UNWIND_CALLED name
        BEGIN   called, \name, 8
        REGISTER_SAVED rip, 8
        .popsection
        .endm

        .macro  IRET_FRAME name, below
        BEGIN   signal, \name, \below
        REGISTER_SAVED rip, 40
        REGISTER_SAVED rflags, 24
        REGISTER_SAVED rsp, 16
        .endm

        .macro  UNWIND_FRAME name, below
        IRET_FRAME \name, \below
        .popsection
        .endm

        .macro  UNWIND_WHOLE name
        IRET_FRAME \name, 176
        .set    .Lat, 56
        .irp    register, rdi, rsi, rdx, rcx, rax, r8, r9, r10, r11, rbx, rbp, r12, r13, r14, r15
        .set    .Lat, .Lat + 8
        REGISTER_SAVED \register, .Lat
        .endr
        .popsection
        .endm

        .macro  UNWIND_STOP name
.L\name\()_end:
        TABLE
        FDE_END \name
        .endm

        .macro  NOW                             /* DW_CFA_set_loc, DW_CFA_def_cfa_offset */
.Lnow\@:
        TABLE
        .byte   0x01
        .quad   .Lnow\@
        .byte   0x0e
        .uleb128 .Lbelow
        .popsection
        .endm

        .macro  BELOW bytes
        .set    .Lbelow, \bytes
        NOW
        .endm

        .macro  PUSHED
        BELOW   .Lbelow + 8
        .endm

        .macro  POPPED bytes
        BELOW   .Lbelow - \bytes
        .endm

        .macro  SAVED register
        TABLE
        REGISTER_SAVED \register, .Lbelow
        .popsection
        .endm

        .macro  SAME register
        TABLE
        REGISTER_SAME \register
        .popsection
        .endm

/* A range with one set of rules. */
        .macro  UNWIND_RULES name, kind=called
        TABLE
        FDE     \kind, \name
        .endm

        .macro  UNWIND_DONE name
        FDE_END \name
        .endm

        .macro  UNWIND_BOTTOM name
        UNWIND_RULES \name
        CFA_REGISTER rsp
        .byte   0x07, .Ldw_rip                  /* DW_CFA_undefined */
        UNWIND_DONE \name
        .endm

        .macro  CFA_REGISTER register, bytes=0  /* DW_CFA_def_cfa */
        .byte   0x0c, .Ldw_\register
        .uleb128 \bytes
        .endm

        .macro  CFA_IN pointer                  /* DW_CFA_def_cfa_expression, of DW_OP_addr and DW_OP_deref */
        .byte   0x0f, 10, 0x03
        .quad   \pointer
        .byte   0x06
        .endm

        .macro  REGISTER_SAVED register, below  /* DW_CFA_offset_extended: so many bytes below the CFA */
        .byte   0x05, .Ldw_\register
        .uleb128 (\below) / 8
        .endm

        .macro  REGISTER_AT register, where     /* DW_CFA_expression, of DW_OP_addr */
        .byte   0x10, .Ldw_\register, 9, 0x03
        .quad   \where
        .endm

        .macro  REGISTER_IN register, another   /* DW_CFA_register */
        .byte   0x09, .Ldw_\register, .Ldw_\another
        .endm

        .macro  REGISTER_SAME register          /* DW_CFA_same_value */
        .byte   0x08, .Ldw_\register
        .endm
#else
        .macro  UNWIND_TABLES
        .endm
        .macro  UNWIND_CALLED name
        .endm
        .macro  UNWIND_FRAME name, below
        .endm
        .macro  UNWIND_WHOLE name
        .endm
        .macro  UNWIND_STOP name
        .endm
        .macro  UNWIND_RULES name, kind=called
        .endm
        .macro  UNWIND_DONE name
        .endm
        .macro  UNWIND_BOTTOM name
        .endm
        .macro  BELOW bytes
        .endm
        .macro  PUSHED
        .endm
        .macro  POPPED bytes
        .endm
        .macro  SAVED register
        .endm
        .macro  SAME register
        .endm
        .macro  CFA_REGISTER register, bytes=0
        .endm
        .macro  CFA_IN pointer
        .endm
        .macro  REGISTER_SAVED register, below
        .endm
        .macro  REGISTER_AT register, where
        .endm
        .macro  REGISTER_IN register, another
        .endm
        .macro  REGISTER_SAME register
        .endm
#endif
#endif
