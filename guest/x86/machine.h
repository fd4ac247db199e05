/* The processor's set-up and the devices, for a kernel that boots. */
#ifndef MACHINE_H
#define MACHINE_H

#include "platform/entry.h"
#include "types.h"

/* segments.c: GDT, LDT, IDT, TSS, SYSCALL. */
void segments_init(void);
void open_gate(int vector);             /* to INT n in ring 3 */

/* image.c: the image page by page, the identity mapping gone. */
void map_image(void);

/* uart.c */
void uart_init(void);
void uart_drain(void);

/* power.c */
void power_off(int status) __attribute__((noreturn));

/* interrupts.c */
void pic_init(void);
void pic_unmask(int line);
void interrupt_done(u64 vector);

/* timer.c */
void timer_init(void);
extern bool timer_is_local;             /* the local APIC's, not the 8254 */

/* lapic.c: registers by their offset in the page. */
void lapic_init(void);
void lapic_write(u32 offset, u32 value);

#define LAPIC_EOI 0xb0
#define LAPIC_SPURIOUS 0xf0
#define LAPIC_LVT_TIMER 0x320
#define LAPIC_LINT0 0x350

/* entry.S */
extern u64 kernel_stack;                /* top of the stack for the next entry */
void sleep_until_interrupt(void);
void return_by_sysret(struct trapframe *) __attribute__((noreturn));    /* with vector VEC_SYSCALL: RCX and R11 are lost */

/* The kernel's: every exception and interrupt comes to it. */
void arch_trap(struct trapframe *, u64 fault_address);

#endif
