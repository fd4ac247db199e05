// What vmm.c's virtual machines run, at the physical addresses that it is made for: real mode at 0x1000, 64-bit mode at 0x2000.
#
// Ports: 0x3f8 prints a byte, 0x60 answers 41, 0x62 reports 32 bits, 0xf4 ends the machine.  At physical 0xd0000 is no memory.

.section .rodata

.code16
.globl real_start, real_end
.balign 16
real_start:                     // at 0x1000, CS.base 0
    cld
    mov $0x3f8, %dx
    mov $(0x1000 + real_text - real_start), %si
    mov $(real_text_end - real_text), %cx
    rep outsb                   // one exit a byte, or one for all

    in $0x60, %al
    movzbl %al, %eax
    inc %eax
    mov $0x62, %dx
    out %eax, %dx               // 42

    mov $0xd000, %bx
    mov %bx, %ds
    movl $0x12345678, 0x10      // no memory at 0xd0010
    mov 0x20, %eax              // nor at 0xd0020
    out %eax, %dx

    xor %bx, %bx
    mov %bx, %ds
    mov $1, %eax                // protected mode and back
    mov %eax, %cr0
    xor %eax, %eax
    mov %eax, %cr0
    mov $0x1b, %eax
    out %eax, %dx
    hlt
    mov $0x1c, %eax
    out %eax, %dx
    hlt

.globl ticks_start
ticks_start:                    // with the kernel's 8259 and 8254
    movw $(0x1000 + real_tick - real_start), 0x20      // vector 8, the 8259's first
    movw $0, 0x22
    mov $0x11, %al              // 8259: vectors from 8, all but the timer masked
    out %al, $0x20
    mov $8, %al
    out %al, $0x21
    mov $4, %al
    out %al, $0x21
    mov $1, %al
    out %al, $0x21
    mov $0xfe, %al
    out %al, $0x21
    mov $0x34, %al              // 8254: 1 kHz
    out %al, $0x43
    mov $(1193 & 0xff), %al
    out %al, $0x40
    mov $(1193 >> 8), %al
    out %al, $0x40
    xor %edi, %edi
1:  sti
    hlt
    cmp $5, %edi
    jb 1b
    mov $0x62, %dx
    mov %edi, %eax
    out %eax, %dx
    out %al, $0xf4

real_tick:
    inc %edi
    mov $0x20, %al              // end of interrupt
    out %al, $0x20
    iretw

real_text:
    .ascii "real mode\n"
real_text_end:
real_end:

.code64
.globl long_start, long_end, long_fault, long_undefined
.balign 16
long_start:                     // at 0x2000, with the tables that vmm.c made
    mov $0x62, %edx
    mov $0x40000000, %eax       // a leaf of vmm.c's
    xor %ecx, %ecx
    cpuid
    mov $0x62, %edx
    mov %ebx, %eax
    out %eax, %dx

    mov $0x100000, %edi         // 64 pages of memory that nobody has touched
    xor %eax, %eax
1:  movl %edi, (%rdi)
    add (%rdi), %eax
    add $0x1000, %edi
    cmp $0x140000, %edi
    jb 1b
    out %eax, %dx

    ud2                         // its handler counts in %esi and skips it
    ud2
    mov %esi, %eax
    out %eax, %dx

    mov $0x5000000000, %rdi     // not mapped: the handler reports %cr2 and maps it
    movl $77, (%rdi)
    mov 0x150000, %eax
    out %eax, %dx

    mov $0xc0000100, %ecx       // IA32_FS_BASE passes, EFER is KVM's
    mov $0x150000, %eax
    xor %edx, %edx
    wrmsr
    mov $0x62, %edx
    mov %fs:0, %eax
    out %eax, %dx
    mov $0xc0000080, %ecx
    rdmsr
    mov $0x62, %edx
    out %eax, %dx

    mov $0xd0030, %edi          // eight bytes where no memory is
    mov $0x1122334455667788, %rax
    mov %rax, (%rdi)
    mov 0x10(%rdi), %rax
    shr $32, %rax
    out %eax, %dx

    mov $0x7fff, %eax           // a hypercall that KVM does not know
    vmcall
    mov $0x62, %edx
    out %eax, %dx

    rdtsc
    mov %eax, %ebx
    rdtsc
    cmp %eax, %ebx              // a clock that runs
    setb %al
    movzbl %al, %eax
    mov $0x62, %edx
    out %eax, %dx
    hlt
    ud2                         // and without a table of gates: a triple fault
    lidt no_gates(%rip)
    ud2
no_gates:
    .fill 10, 1, 0

.balign 16
long_undefined:
    inc %esi
    addq $2, (%rsp)
    iretq

.balign 16
long_fault:
    push %rax
    push %rdx
    mov $0x62, %edx
    mov %cr2, %rax
    shr $32, %rax
    out %eax, %dx
    mov 16(%rsp), %eax          // the error code, below what this handler pushed
    out %eax, %dx
    movq $0x150003, 0x9000      // the last table of that address
    pop %rdx
    pop %rax
    add $8, %rsp
    iretq
long_end:
