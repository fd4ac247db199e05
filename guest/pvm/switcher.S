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
        .globl  syscall_entry
syscall_entry:
        mov     %rsp, SW(SW_RSP)
        mov     kernel_stack(%rip), %rsp
        push    $USER_SS
        push    SW(SW_RSP)
        push    %r11
        push    $USER_CS
        push    %rcx
        push    %rdi
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
        push    %rax
        push    %rdx
        xor     %ecx, %ecx
        rdpkru
        mov     %eax, PVCS_PKRU(%rdi)
        xor     %eax, %eax                      /* EDX is 0 */
        wrpkru
        pop     %rdx
        pop     %rax
1:      xorl    $SWITCH_USER, SW(SW_FLAGS)
        mov     SW(SW_SMOD_CR3), %rcx
        mov     %rcx, %cr3
        pop     %rdi
        mov     SW(SW_ENTRY), %rcx              /* canonical: WRMSR has looked */
        mov     $FLAGS_FIXED, %r11d
        mov     SW(SW_RSP), %rsp
        sysretq

/* The guest's kernel: a return to user mode, if it is at RETU_RIP, or a hypercall. */
from_smod:
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
        push    %rax
        push    %rdx
        LOAD_PKRU_FROM %rdi
        pop     %rdx
        pop     %rax
1:      xorl    $SWITCH_USER, SW(SW_FLAGS)
        mov     SW(SW_UMOD_CR3), %rcx
        mov     %rcx, %cr3
        mov     PVCS_RCX(%rdi), %rcx
        mov     PVCS_R11(%rdi), %r11
        pop     %rdi
/* An IRET frame on the stack, all other registers the guest's: SYSRET, if it does the same. */
return_to_guest:
        cmp     %rcx, (%rsp)
        jne     1f
        cmp     %r11, 16(%rsp)
        jne     1f
        testl   $FLAGS_SLOW, %r11d
        jnz     1f
        mov     24(%rsp), %rsp
        sysretq
1:      iretq

to_host:
        mov     (%rsp), %rdi
        mov     8(%rsp), %rcx                   /* as SYSCALL left it */
        movq    $0, (%rsp)
        push    $VEC_SYSCALL
        SAVE_REGISTERS
        mov     SW(SW_HOST_CR3), %rax
        mov     %rax, %cr3
        mov     %rsp, %rdi
        xor     %esi, %esi
        xor     %ebp, %ebp
        call    trap
        jmp     trap_return

/* Exceptions and interrupts, of a guest or of the host itself. */
trap_entry:
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
2:      RESTORE_REGISTERS
        iretq

        .globl  plat_enter_user
plat_enter_user:
        mov     %rdi, %rsp
        jmp     trap_return

        SLEEP_UNTIL_INTERRUPT
        TRAP_STUBS

        .bss
        .globl  kernel_stack, switcher
        .align  64
switcher:     .fill 72
kernel_stack: .quad 0
