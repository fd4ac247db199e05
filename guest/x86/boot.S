/* From the boot loader (32-bit, flat, paging off) to boot_main() in 64-bit mode.
 * EBX holds the physical address of the boot information.
 *
 *   virtual                      physical
 *   0x0000000000000000  1 GiB    0          until map_image() drops it
 *   DIRECT_MAP          512 GiB  0          the direct map, 1 GiB pages
 *   KERNEL_BASE         1 GiB    0          the kernel, until map_image() refines it
 */
#include "layout.h"
#include "unwind.h"

#define HEADER_FLAGS 0x00010003
#define CR0_PG_WP_PE 0x80010001
#define CR4_PGE_PAE  0x000000a0
#define EFER         0xc0000080
#define EFER_NXE_LME_SCE 0x901

        .set    DIRECT_SLOT, DIRECT_MAP >> 39 & 511     /* of level 4 */
        .set    IMAGE_SLOT, KERNEL_BASE >> 30 & 511     /* of level 3 */

        .section .boot, "awx"
        .code32
        .align 4
header: .long 0x1badb002, HEADER_FLAGS, -(0x1badb002 + HEADER_FLAGS)
        .long header, 0x100000, load_end, bss_end, _start

        .globl _start
_start:
        cld
        lea     boot_pml4, %edi                 /* level 4: the three regions above */
        lea     boot_direct, %eax
        or      $3, %eax
        mov     %eax, DIRECT_SLOT * 8(%edi)
        lea     boot_low, %eax
        or      $3, %eax
        mov     %eax, (%edi)
        lea     boot_high, %eax
        or      $3, %eax
        mov     %eax, 511 * 8(%edi)
        movl    $0x83, boot_low                 /* level 3: present, writable, 1 GiB */
        movl    $0x83, boot_high + IMAGE_SLOT * 8

        lea     boot_direct, %edi
        xor     %ecx, %ecx
1:      mov     %ecx, %eax                      /* entry = i GiB, P W A D PS G and NX */
        shl     $30, %eax
        or      $0x1e3, %eax
        mov     %eax, (%edi,%ecx,8)
        mov     %ecx, %eax
        shr     $2, %eax
        or      $0x80000000, %eax
        mov     %eax, 4(%edi,%ecx,8)
        inc     %ecx
        cmp     $512, %ecx
        jne     1b

        mov     %cr4, %eax
        or      $CR4_PGE_PAE, %eax
        mov     %eax, %cr4
        lea     boot_pml4, %eax
        mov     %eax, %cr3
        mov     $EFER, %ecx
        rdmsr
        or      $EFER_NXE_LME_SCE, %eax
        wrmsr
        mov     $CR0_PG_WP_PE, %eax
        mov     %eax, %cr0
        lgdt    boot_gdtr
        ljmp    $8, $long_mode

        .code64
long_mode:
.Lbooting:
        xor     %eax, %eax
        mov     %eax, %ds
        mov     %eax, %es
        mov     %eax, %ss
        mov     %eax, %fs
        mov     %eax, %gs
        movabs  $boot_stack_top, %rsp
        xor     %ebp, %ebp
        mov     %ebx, %edi
        movabs  $boot_main, %rax
        call    *%rax
        ud2
.Lbooting_end:
        UNWIND_TABLES
        UNWIND_BOTTOM booting

        .align 8
boot_gdt:
        .quad 0, 0x00af9b000000ffff
boot_gdtr:
        .word 15
        .long boot_gdt

        .align 4096
        .globl  boot_pml4
boot_pml4:   .fill 4096
boot_low:    .fill 4096
boot_high:   .fill 4096
boot_direct: .fill 4096

        .section .bss
        .align 16
        .fill 16384
boot_stack_top:
