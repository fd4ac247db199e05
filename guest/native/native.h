/* What the files of the native platform share. */
#ifndef NATIVE_H
#define NATIVE_H

#include "platform.h"
#include "types.h"

/* What the boot loader leaves. */
struct multiboot {
    u32 flags, mem_lower, mem_upper, boot_device, cmdline, mods_count, mods_addr, syms[4];
    u32 mmap_length, mmap_addr;
} __attribute__((packed));

struct module { u32 start, end, string, reserved; };

void native_main(struct multiboot *) __attribute__((noreturn));
void read_boot_information(const struct multiboot *, struct bootinfo *);
void segments_init(void);       /* GDT, IDT, TSS, SYSCALL (segments.c) */
void open_gate(int vector);     /* to INT n in ring 3 */
void memory_init(void);         /* (memory.c) */
void map_image(void);           /* page by page, the identity mapping gone (image.c) */
void uart_init(void);           /* (uart.c) */
void uart_drain(void);
void power_off(int status) __attribute__((noreturn));   /* (power.c) */
void pic_init(void);            /* (interrupts.c) */
void pic_unmask(int line);
void interrupt_done(u64 vector);
void timer_init(void);          /* (timer.c) */
void native_trap(struct trapframe *, u64 fault_address);

extern u64 cr4;                 /* as it stays: reading the register traps where there is a hypervisor (memory.c) */
extern u64 kernel_stack;        /* top of the stack for the next entry (entry.S) */
extern bool timer_is_local;     /* the local APIC's, not the 8254 */
extern volatile u32 *lapic;

#define LAPIC_EOI (0xb0 / 4)

#endif
