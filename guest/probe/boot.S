/* From the boot loader (32-bit, flat, paging off) to bare_main() in 64-bit mode.  EBX: the boot information. */
#define HEADER_FLAGS 0x00010003
#define INFO_CMDLINE 16
#define CR0_PG_PE 0x80000001
#define CR4_PAE 0x20
#define EFER 0xc0000080
#define EFER_LME 0x100
#define SUPERVISOR_LARGE 0x83           /* P, W, PS */
#define USER_LARGE 0x85                 /* P, U, PS */
#define TABLE 7                         /* P, W, U */

        .section .boot, "awx"
        .code32
        .align 4
header: .long 0x1badb002, HEADER_FLAGS, -(0x1badb002 + HEADER_FLAGS)
        .long header, 0x100000, load_end, bss_end, boot_start

        .globl boot_start
boot_start:
        cld
        mov     INFO_CMDLINE(%ebx), %eax
        mov     %eax, command_line

        lea     low, %eax                       /* the picture in bare.h */
        or      $TABLE, %eax
        mov     %eax, pml4
        movl    $SUPERVISOR_LARGE, low
        lea     window, %eax
        or      $TABLE, %eax
        mov     %eax, pml4 + 8
        lea     window_2m, %eax
        or      $TABLE, %eax
        mov     %eax, window
        movl    $USER_LARGE, window_2m

        mov     $CR4_PAE, %eax
        mov     %eax, %cr4
        lea     pml4, %eax
        mov     %eax, %cr3
        mov     $EFER, %ecx
        rdmsr
        or      $EFER_LME, %eax
        wrmsr
        mov     $CR0_PG_PE, %eax
        mov     %eax, %cr0
        lgdt    boot_gdtr
        ljmp    $8, $long_mode

        .code64
long_mode:
        xor     %eax, %eax
        mov     %eax, %ds
        mov     %eax, %es
        mov     %eax, %ss
        mov     %eax, %fs
        mov     %eax, %gs
        mov     $stack_top, %esp
        xor     %ebp, %ebp
        call    bare_main
        ud2

        .align 8
boot_gdt:
        .quad 0, 0x00af9b000000ffff
boot_gdtr:
        .word 15
        .long boot_gdt

        .globl command_line
        .align 8
command_line: .quad 0

        .bss
        .balign 4096
pml4:      .skip 4096
low:       .skip 4096
window:    .skip 4096
window_2m: .skip 4096
           .skip 16384
stack_top:
