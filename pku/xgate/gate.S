/* XGates: from container user to container kernel and back without leaving ring 3.
 *
 *   site:  jmp stub                         the program's system call, rewritten
 *   stub:  mov $nr, %eax                    (rewrite.c)
 *          lea back(%rip), %rcx             as SYSCALL leaves it
 *          movabs $xgate_entry, %r11
 *          jmp *%r11
 *
 * Anybody may jump anywhere in here: keys never stop a fetch.  So after each WRPKRU its value is
 * compared, and what is used behind it (stack, frame, flags) comes from key-protected memory at a
 * fixed address, never from a register that container user chose.
 *
 * WRPKRU wants EAX, ECX and EDX.  What they hold waits in the scratch page, which is container
 * user's own: it can only lie to itself there.
 */
#include "abi.h"
#include "selectors.h"
#include "unwind.h"

#define VEC_SYSCALL 256

/* struct xgate_vcpu */
#define VCPU_STACK      xgate_vcpu
#define VCPU_USER_RSP   xgate_vcpu + 8
#define VCPU_INTERRUPTS xgate_vcpu + 16
#define VCPU_PENDING    xgate_vcpu + 24
#define VCPU_PKRU       xgate_vcpu + 32
#define SCRATCH_RCX     xgate_scratch
#define SCRATCH_RDX     xgate_scratch + 8

        .macro  JNE_LONG target                 /* always six bytes, so that a control can take it out */
        .byte   0x0f, 0x85
        .long   \target - . - 4
        .endm

        .text
        UNWIND_TABLES
        .globl  xgate_entry, xgate_has_rcx, xgate_has_rdx, xgate_has_rax, xgate_enter_wrpkru, xgate_enter_check, xgate_stack, xgate_exit, xgate_exit_wrpkru, xgate_exit_check
xgate_entry:
.Lentered:                                      /* container user's rights; RAX number, RCX return address */
        mov     %rcx, SCRATCH_RCX
.Lentered_end:
xgate_has_rcx:
.Lscratching:
        mov     %rdx, SCRATCH_RDX
xgate_has_rdx:
        mov     %rax, %r11
.Lscratching_end:
.Lopening:
xgate_has_rax:
        xor     %ecx, %ecx
        xor     %edx, %edx
        mov     $PKRU_KERNEL, %eax
xgate_enter_wrpkru:
        wrpkru
        cmp     $PKRU_KERNEL, %eax
xgate_enter_check:
        JNE_LONG xgate_refused
        movq    $0, VCPU_INTERRUPTS             /* virtual cli */
        mov     %rsp, VCPU_USER_RSP
.Lopening_end:
xgate_stack:
.Lswitching:
        mov     VCPU_STACK, %rsp
        nop                                     /* room for what a control puts here */
        push    $USER_SS
        push    VCPU_USER_RSP
        pushfq
        cld
        push    $USER_CS
        push    SCRATCH_RCX                     /* where to return */
.Lswitching_end:
        UNWIND_FRAME calling, 40
        PUSH_OTHER $0
        PUSH_OTHER $VEC_SYSCALL
        PUSH    rdi
        PUSH    rsi
        PUSH_OTHER SCRATCH_RDX
        SAVED   rdx
        PUSH_OTHER SCRATCH_RCX
        SAVED   rcx
        PUSH_OTHER %r11                         /* the number */
        SAVED   rax
        PUSH    r8
        PUSH    r9
        PUSH    r10
        PUSH_OTHER 32+72(%rsp)                  /* R11 is RFLAGS, as after SYSCALL */
        SAVED   r11
        PUSH    rbx
        PUSH    rbp
        PUSH    r12
        PUSH    r13
        PUSH    r14
        PUSH    r15
        mov     %rsp, %rdi
        xor     %esi, %esi
        xor     %ebp, %ebp
        incq    xgate_stats + 24
        call    trap
        cmpl    $VEC_SYSCALL, 120(%rsp)         /* the kernel wants all registers restored? */
        jne     return_by_host
        cmpq    $0, VCPU_PENDING                /* an interrupt was held back */
xgate_exit_start:
        jne     return_by_host
xgate_exit:
        POP     r15
        POP     r14
        POP     r13
        POP     r12
        POP     rbp
        POP     rbx
        DROP    8
        POP     r10
        POP     r9
        POP     r8
        POP     r11                             /* the result */
        DROP    8
        POP     rdx
        POP     rsi
        POP     rdi
        mov     %rdx, SCRATCH_RDX
        mov     16(%rsp), %rcx
        mov     %rcx, SCRATCH_RCX
        mov     40(%rsp), %rsp
        UNWIND_STOP calling
.Lclosing:
        movq    $1, VCPU_INTERRUPTS             /* virtual sti */
        xor     %ecx, %ecx
        xor     %edx, %edx
        mov     VCPU_PKRU, %eax
xgate_exit_wrpkru:
        wrpkru
        not     %eax                            /* the program's own keys are its own affair */
        test    $PKRU_USER, %al
xgate_exit_check:
        JNE_LONG xgate_refused
        mov     %r11, %rax
        mov     SCRATCH_RDX, %rdx
        mov     SCRATCH_RCX, %rcx
        jmp     *%rcx
.Lclosing_end:

        UNWIND_RULES entered
        CFA_REGISTER rsp
        REGISTER_IN rip, rcx
        UNWIND_DONE entered
        UNWIND_RULES scratching
        CFA_REGISTER rsp
        REGISTER_AT rip, SCRATCH_RCX
        REGISTER_AT rcx, SCRATCH_RCX
        UNWIND_DONE scratching
        UNWIND_RULES opening
        CFA_REGISTER rsp
        REGISTER_AT rip, SCRATCH_RCX
        REGISTER_AT rcx, SCRATCH_RCX
        REGISTER_AT rdx, SCRATCH_RDX
        REGISTER_IN rax, r11
        UNWIND_DONE opening
        UNWIND_RULES switching
        CFA_IN  VCPU_USER_RSP
        REGISTER_AT rip, SCRATCH_RCX
        REGISTER_AT rcx, SCRATCH_RCX
        REGISTER_AT rdx, SCRATCH_RDX
        REGISTER_IN rax, r11
        UNWIND_DONE switching
        UNWIND_RULES closing
        CFA_REGISTER rsp
        REGISTER_AT rip, SCRATCH_RCX
        REGISTER_AT rcx, SCRATCH_RCX
        REGISTER_AT rdx, SCRATCH_RDX
        REGISTER_IN rax, r11
        UNWIND_DONE closing

/* A value that is not the gate's: #UD, which the host gives to the container kernel. */
        .globl  xgate_refused
xgate_refused:
        ud2

/* The host enters here for everything else: RDI the trapframe on our stack, RSI the fault's address. */
        .globl  gk_event_entry
gk_event_entry:
        UNWIND_WHOLE event
        xor     %ebp, %ebp
        call    xgate_event
return_by_host:
        mov     %rsp, %rdi
        call    plat_enter_user
        ud2
        UNWIND_STOP event

/* The first instruction: RDI is struct gk_boot. */
        .globl  _start
_start:
.Lbooting:
        lea     boot_stack_top, %rsp
        xor     %ebp, %ebp
        call    xgate_main
        ud2
.Lbooting_end:
        UNWIND_BOTTOM booting

        .section .header, "a"
        .globl  gk_header
gk_header:
        .quad   GK_MAGIC, _start, gk_event_entry
        .quad   kernel_text, kernel_rodata
        .quad   xgate_refused
        .quad   xgate_vcpu, xgate_scratch
        .quad   xgate_exit_start, xgate_exit_wrpkru
        .quad   xgate_enter_check, xgate_exit_check, xgate_stack

        .section .scratch, "aw", @nobits
        .align  4096
        .globl  xgate_scratch
xgate_scratch:
        .fill   4096

        .bss
        .align  4096
        .globl  xgate_vcpu
xgate_vcpu:
        .fill   4096
        .fill   16384
boot_stack_top:
