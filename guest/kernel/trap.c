/* Every entry from user mode, and interrupts while the kernel waits. */
#include "kernel.h"
#include "balloon.h"
#include "mm/vm.h"
#include "platform/entry.h"
#include "syscall/syscalls.h"
#include "task/process.h"
#include "time/itimer.h"
#include "time/time.h"
#include "tty/tty.h"

#define PF_P 1
#define PF_WRITE 2
#define PF_USER 4
#define PF_FETCH 16
#define PF_KEY 32
#define IRQ_TIMER VEC_IRQ0

struct meaning { u8 signal, code; bool tells_rip; };

/* What an exception is to a program, as Linux tells it. */
static const struct meaning meaning_of[20] = {
    [0] = {SIGFPE, FPE_INTDIV, true}, [1] = {SIGTRAP, TRAP_TRACE, true}, [3] = {SIGTRAP, SI_KERNEL, false},
    [4] = {SIGSEGV, SI_KERNEL, false}, [5] = {SIGSEGV, SI_KERNEL, false}, [6] = {SIGILL, ILL_ILLOPN, true},
    [7] = {SIGFPE, SI_KERNEL, true}, [10] = {SIGSEGV, SI_KERNEL, false}, [11] = {SIGBUS, SI_KERNEL, false},
    [12] = {SIGBUS, SI_KERNEL, false}, [13] = {SIGSEGV, SI_KERNEL, false}, [16] = {SIGFPE, FPE_INTDIV, true},
    [17] = {SIGBUS, BUS_ADRALN, false}, [19] = {SIGFPE, FPE_INTDIV, true},
};

/* Mapped, but not so; or not mapped at all. */
static i32 code_of(const struct trapframe *tf, u64 address) {
    struct vma *v = address < USER_TOP ? vma_find(current->process->mm, address) : NULL;

    if (!v || address < v->start)
        return SEGV_MAPERR;
    return tf->error & PF_KEY ? SEGV_PKUERR : SEGV_ACCERR;
}

static void page_fault(struct trapframe *tf, u64 address) {
    enum access access = tf->error & PF_FETCH ? ACCESS_EXEC : tf->error & PF_WRITE ? ACCESS_WRITE : ACCESS_READ;

    switch (tf->error & PF_KEY ? FAULT_SEGV : vm_fault(current->process->mm, address, access)) {
    case FAULT_DONE:
        break;
    case FAULT_SEGV:
        if (address >= USER_TOP)        /* as Linux: a program does not learn what is mapped in the kernel's half */
            tf->error = (tf->error & (PF_WRITE | PF_USER | PF_FETCH)) | PF_P;
        signal_fault(SIGSEGV, code_of(tf, address), address);
        break;
    case FAULT_BUS:
        signal_fault(SIGBUS, BUS_ADRERR, address);
        break;
    case FAULT_NO_MEMORY:
        out_of_memory();
    }
}

static void interrupt(u64 vector) {
    if (vector == IRQ_TIMER)
        timers_ring();
    else if (vector == IRQ_SCREEN)
        tty_told();
    else if (vector == IRQ_VIRTIO)
        balloon_told();
    else
        tty_interrupt();
}

static void exception(struct trapframe *tf) {
    struct meaning m = tf->vector < COUNT(meaning_of) ? meaning_of[tf->vector] : (struct meaning){0};

    if (!m.signal)
        panic("exception %lu, error %lx, at rip %lx", tf->vector, tf->error, tf->rip);
    if (tf->vector == 6 && plat_emulate(tf))
        return;
    signal_fault(m.signal, m.code, m.tells_rip ? tf->rip : 0);
}

/* Before user mode: signals, and the clock for those who wait. */
void return_to_user(void) {
    struct task *t = current;
    struct process *p = t->process;

    if (p->cpu_next)
        cpu_timers_check(p);
    if ((t->signals.set | p->signals.set) || p->ending || p->stopped || t->restore_blocked || t->interrupted)
        signal_deliver();
    if (run_queue.first || p->cpu_next)
        measure_slice();
}

void trap(struct trapframe *tf, u64 fault_address) {
    if (tf->vector == VEC_SYSCALL)
        syscall(tf);
    else if (tf->vector >= VEC_IRQ0)
        interrupt(tf->vector);
    else if (tf->vector == 14)
        page_fault(tf, fault_address);
    else
        exception(tf);
    if (!(tf->cs & 3))
        return;                         /* the kernel itself was waiting */
    if (tf->vector >= VEC_IRQ0 && tf->vector != VEC_SYSCALL)
        sched_interrupt();
    return_to_user();
}
