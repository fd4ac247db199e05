/* The switcher: between the host at ring 0 and a guest whose user and kernel (umod and smod) are both at ring 3.
 *
 *   umod ──SYSCALL──► smod          direct: the state goes to the PVCS, CR3 becomes the other shadow
 *   umod ◄──SYSCALL at RETU_RIP── smod      direct, unless the host wants to see it
 *   umod, smod ──anything else──► host      CR3 becomes the host's
 *
 * Code, stack and data are the host's, which all tables map for ring 0.  RSP is the guest's own affair: an event never
 * changes it.  struct trapframe and its order: guest/x86/entry.S.
 */
#include "abi.h"
#include "frame.h"
#include "selectors.h"
#include "switcher.h"

#define SW(field) switcher + field(%rip)

        .macro  LOAD_PKRU_FROM where            /* RDI the PVCS; RAX, RCX and RDX are lost */
        mov     PVCS_PKRU(%rdi), %eax
        xor     %ecx, %ecx
        xor     %edx, %edx
        wrpkru
        .endm

        .text
        UNWIND_TABLES
        .globl  syscall_entry
syscall_entry:
.Lentered:
        mov     %rsp, SW(SW_RSP)
.Lentered_end:
.Lswitching:
        mov     kernel_stack(%rip), %rsp
        push    $USER_SS
        push    SW(SW_RSP)
        push    %r11
        push    $USER_CS
        push    %rcx
.Lswitching_end:
        UNWIND_FRAME from_umod, 40
        PUSH    rdi
        testl   $SWITCH_USER, SW(SW_FLAGS)
        jz      from_smod

/* A system call of the guest's user. */
        mov     SW(SW_PVCS), %rdi
        movl    $(USER_SS << 16 | USER_CS), PVCS_USER_CS(%rdi)
        mov     %r11d, PVCS_EFLAGS(%rdi)
        mov     %rcx, PVCS_RIP(%rdi)
        mov     %rcx, PVCS_RCX(%rdi)
        mov     %r11, PVCS_R11(%rdi)
        rdgsbase %rcx
        mov     %rcx, PVCS_USER_GSBASE(%rdi)
        mov     SW(SW_GS), %rcx
        wrgsbase %rcx
        testl   $SWITCH_KEYS, SW(SW_FLAGS)
        jz      1f
        PUSH    rax
        PUSH    rdx
        xor     %ecx, %ecx
        rdpkru
        mov     %eax, PVCS_PKRU(%rdi)
        xor     %eax, %eax                      /* EDX is 0 */
        wrpkru
        POP     rdx
        POP     rax
1:      xorl    $SWITCH_USER, SW(SW_FLAGS)
        mov     SW(SW_SMOD_CR3), %rcx
        mov     %rcx, %cr3
        POP     rdi
        mov     SW(SW_ENTRY), %rcx              /* canonical: WRMSR has looked */
        mov     $FLAGS_FIXED, %r11d
        UNWIND_STOP from_umod
.Lbelow_smod:
        mov     SW(SW_RSP), %rsp
        sysretq
.Lbelow_smod_end:

/* The guest's kernel: a return to user mode, if it is at RETU_RIP, or a hypercall. */
from_smod:
        UNWIND_FRAME from_smod, 48
        SAVED   rdi
        cmp     %rcx, SW(SW_RETU_RIP)
        jne     to_host
        testl   $SWITCH_BY_HOST, SW(SW_FLAGS)
        jnz     to_host
        mov     SW(SW_PVCS), %rdi
        cmpl    $(USER_SS << 16 | USER_CS), PVCS_USER_CS(%rdi)
        jne     to_host
        mov     PVCS_RIP(%rdi), %rcx            /* non-canonical: IRET would fault in ring 0 */
        shl     $16, %rcx
        sar     $16, %rcx
        cmp     PVCS_RIP(%rdi), %rcx
        jne     to_host
        mov     %rcx, 8(%rsp)
        mov     PVCS_EFLAGS(%rdi), %r11d
        and     $FLAGS_GUEST, %r11
        or      $FLAGS_FIXED, %r11
        mov     %r11, 24(%rsp)
        mov     PVCS_USER_GSBASE(%rdi), %rcx
        shl     $16, %rcx
        sar     $16, %rcx
        wrgsbase %rcx
        testl   $SWITCH_KEYS, SW(SW_FLAGS)
        jz      1f
        PUSH    rax
        PUSH    rdx
        LOAD_PKRU_FROM %rdi
        POP     rdx
        POP     rax
1:      xorl    $SWITCH_USER, SW(SW_FLAGS)
        mov     SW(SW_UMOD_CR3), %rcx
        mov     %rcx, %cr3
        mov     PVCS_RCX(%rdi), %rcx
        mov     PVCS_R11(%rdi), %r11
        POP     rdi
/* An IRET frame on the stack, all other registers the guest's: SYSRET, if it does the same. */
return_to_guest:
        cmp     %rcx, (%rsp)
        jne     1f
        cmp     %r11, 16(%rsp)
        jne     1f
        testl   $FLAGS_SLOW, %r11d
        jnz     1f
        UNWIND_STOP from_smod
.Lleaving:
        mov     24(%rsp), %rsp
        sysretq
.Lleaving_end:
1:      UNWIND_FRAME resuming, 40
        iretq
        UNWIND_STOP resuming

to_host:
        UNWIND_FRAME to_host, 48
        SAVED   rdi
        mov     (%rsp), %rdi
        SAME    rdi
        mov     8(%rsp), %rcx                   /* as SYSCALL left it */
        movq    $0, (%rsp)
        PUSH_OTHER $VEC_SYSCALL
        SAVE_REGISTERS
        mov     SW(SW_HOST_CR3), %rax
        mov     %rax, %cr3
        mov     %rsp, %rdi
        xor     %esi, %esi
        xor     %ebp, %ebp
        call    trap
        jmp     trap_return
        UNWIND_STOP to_host

/* Exceptions and interrupts, of a guest or of the host itself. */
trap_entry:
        UNWIND_FRAME trapping, 56
        SAVE_REGISTERS
        cld
        testl   $3, 144(%rsp)
        jz      1f
        mov     SW(SW_HOST_CR3), %rax
        mov     %rax, %cr3
1:      mov     %rsp, %rdi
        xor     %esi, %esi
        cmpl    $14, 120(%rsp)
        jne     1f
        mov     %cr2, %rsi
1:      xor     %ebp, %ebp
        call    arch_trap
trap_return:
        testl   $3, 144(%rsp)
        jz      2f
        mov     SW(SW_SMOD_CR3), %rax
        testl   $SWITCH_USER, SW(SW_FLAGS)
        jz      1f
        mov     SW(SW_UMOD_CR3), %rax
1:      mov     %rax, %cr3
        RESTORE_REGISTERS
        jmp     return_to_guest
        UNWIND_STOP trapping
2:      UNWIND_WHOLE inside
        RESTORE_REGISTERS
        iretq
        UNWIND_STOP inside

        .globl  plat_enter_user
plat_enter_user:
        mov     %rdi, %rsp
        UNWIND_WHOLE entering
        jmp     trap_return
        UNWIND_STOP entering

        UNWIND_RULES entered
        CFA_REGISTER rsp
        REGISTER_IN rip, rcx
        REGISTER_IN rflags, r11
        UNWIND_DONE entered
        UNWIND_RULES switching
        CFA_IN  switcher + SW_RSP
        REGISTER_IN rip, rcx
        REGISTER_IN rflags, r11
        UNWIND_DONE switching
        UNWIND_RULES below_smod, signal
        CFA_IN  kernel_stack
        REGISTER_SAVED rip, 40
        REGISTER_SAVED rflags, 24
        REGISTER_SAVED rsp, 16
        UNWIND_DONE below_smod
        UNWIND_RULES leaving, signal
        CFA_IN  kernel_stack
        REGISTER_SAVED rip, 40
        REGISTER_SAVED rflags, 24
        REGISTER_SAVED rsp, 16
        UNWIND_DONE leaving

        SLEEP_UNTIL_INTERRUPT
        TRAP_STUBS

        .bss
        .globl  kernel_stack, switcher
        .align  64
switcher:     .fill 72
kernel_stack: .quad 0
