/* The first C code, exceptions and interrupts, and the end. */
#include "kernel.h"
#include "machine.h"
#include "native.h"
#include "platform/console.h"
#include "platform/time.h"

void boot_main(struct multiboot *info) {
    static struct bootinfo boot;

    segments_init();
    pic_init();                 /* before the UART may interrupt: an 8259 that is set up forgets the edge */
    uart_init();
    memory_init();
    timer_init();
    read_boot_information(direct((u64)info), &boot);
    kernel_main(&boot);
}

/* Interrupts come in user mode and in plat_wait() only; an exception in the
 * kernel is the kernel's own fault. */
void arch_trap(struct trapframe *tf, u64 fault_address) {
    if (tf->vector >= VEC_IRQ0)
        interrupt_done(tf->vector);
    else if (!(tf->cs & 3))
        panic("exception %lu, error %lx, in the kernel at rip %lx, address %lx, rsp %lx",
              tf->vector, tf->error, tf->rip, fault_address, tf->rsp);
    trap(tf, fault_address);
}

void plat_listen(int line) { pic_unmask(line); }

void plat_wait(void) { sleep_until_interrupt(); }

void plat_exit(int status) { power_off(status); }
