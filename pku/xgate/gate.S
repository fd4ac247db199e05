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
        .globl  xgate_entry, xgate_has_rcx, xgate_has_rdx, xgate_has_rax, xgate_enter_wrpkru, xgate_enter_check, xgate_stack, xgate_exit, xgate_exit_wrpkru, xgate_exit_check
xgate_entry:                                    /* container user's rights; RAX number, RCX return address */
        mov     %rcx, SCRATCH_RCX
xgate_has_rcx:
        mov     %rdx, SCRATCH_RDX
xgate_has_rdx:
        mov     %rax, %r11
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
xgate_stack:
        mov     VCPU_STACK, %rsp
        nop                                     /* room for what a control puts here */
        push    $USER_SS
        push    VCPU_USER_RSP
        pushfq
        cld
        push    $USER_CS
        push    SCRATCH_RCX                     /* where to return */
        push    $0
        push    $VEC_SYSCALL
        push    %rdi
        push    %rsi
        push    SCRATCH_RDX
        push    SCRATCH_RCX
        push    %r11                            /* the number */
        push    %r8
        push    %r9
        push    %r10
        push    32+72(%rsp)                     /* R11 is RFLAGS, as after SYSCALL */
        push    %rbx
        push    %rbp
        push    %r12
        push    %r13
        push    %r14
        push    %r15
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
        pop     %r15
        pop     %r14
        pop     %r13
        pop     %r12
        pop     %rbp
        pop     %rbx
        add     $8, %rsp
        pop     %r10
        pop     %r9
        pop     %r8
        pop     %r11                            /* the result */
        add     $8, %rsp
        pop     %rdx
        pop     %rsi
        pop     %rdi
        mov     %rdx, SCRATCH_RDX
        mov     16(%rsp), %rcx
        mov     %rcx, SCRATCH_RCX
        mov     40(%rsp), %rsp
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

/* A value that is not the gate's: #UD, which the host gives to the container kernel. */
        .globl  xgate_refused
xgate_refused:
        ud2

/* The host enters here for everything else: RDI the trapframe on our stack, RSI the fault's address. */
        .globl  gk_event_entry
gk_event_entry:
        xor     %ebp, %ebp
        call    xgate_event
return_by_host:
        mov     %rsp, %rdi
        call    plat_enter_user
        ud2

/* The first instruction: RDI is struct gk_boot. */
        .globl  _start
_start:
        lea     boot_stack_top, %rsp
        xor     %ebp, %ebp
        call    xgate_main
        ud2

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
