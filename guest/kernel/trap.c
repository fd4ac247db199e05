/* Every entry from user mode, and interrupts while the kernel waits. */
#include "kernel.h"
#include "process.h"
#include "syscalls.h"
#include "time.h"
#include "tty.h"
#include "vm.h"

#define PF_WRITE 2
#define PF_USER 4
#define PF_FETCH 16
#define IRQ_TIMER VEC_IRQ0

/* #DE #DB NMI #BP #OF #BR #UD #NM #DF - #TS #NP #SS #GP #PF - #MF #AC #MC #XM */
static const u8 signal_of[20] = {
    SIGFPE, SIGTRAP, 0, SIGTRAP, SIGSEGV, SIGSEGV, SIGILL, SIGFPE, 0, 0, SIGSEGV, SIGSEGV, SIGBUS, SIGSEGV, SIGSEGV, 0,
    SIGFPE, SIGBUS, 0, SIGFPE,
};

static void page_fault(const struct trapframe *tf, u64 address) {
    enum access access = tf->error & PF_FETCH ? ACCESS_EXEC : tf->error & PF_WRITE ? ACCESS_WRITE : ACCESS_READ;

    switch (vm_fault(current->process->mm, address, access)) {
    case FAULT_DONE:
        break;
    case FAULT_SEGV:
        signal_fault(SIGSEGV, address);
        break;
    case FAULT_BUS:
        signal_fault(SIGBUS, address);
        break;
    case FAULT_NO_MEMORY:
        print("%s[%d]: out of memory", current->process->name, current->process->pid);
        process_killed(SIGKILL);
    }
}

static void interrupt(u64 vector) {
    struct task *t = current;

    if (vector != IRQ_TIMER) {
        tty_interrupt();
        return;
    }
    if (!t->alarm)
        return;
    u64 now = now_ns();
    if (now >= t->alarm) {
        signal_send(t, SIGALRM);
        t->alarm = t->alarm_interval ? now + t->alarm_interval : 0;
    }
    if (t->alarm)
        plat_timer(cycles_of_ns(t->alarm));
}

void trap(struct trapframe *tf, u64 fault_address) {
    if (tf->vector == VEC_SYSCALL)
        syscall(tf);
    else if (tf->vector >= VEC_IRQ0)
        interrupt(tf->vector);
    else if (tf->vector == 14)
        page_fault(tf, fault_address);
    else if (tf->vector < COUNT(signal_of) && signal_of[tf->vector])
        signal_fault(signal_of[tf->vector], tf->rip);
    else
        panic("exception %lu, error %lx, at rip %lx", tf->vector, tf->error, tf->rip);
    if (current->pending && tf->cs & 3)
        signal_deliver();
}
