/* Running a program's signal handler, and coming back from it.
 *
 *   user stack, downwards from the interrupted RSP - 128 (the ABI's red zone):
 *   │ FXSAVE area 512, 64-aligned │ struct sigframe: siginfo, ucontext, return address │ ← RSP of the handler
 */
#include "kernel.h"
#include "process.h"
#include "syscalls.h"
#include "vm.h"

#define SA_SIGINFO 4UL
#define SA_ONSTACK 0x08000000UL
#define SA_NODEFER 0x40000000UL
#define SA_RESETHAND 0x80000000UL
#define RED_ZONE 128
#define SI_KERNEL 0x80
#define SI_USER 0
#define MXCSR_MASK 0xffff
#define MXCSR_AT 24             /* in the FXSAVE area */

#define USER_FLAGS 0x50dd5UL    /* CF PF AF ZF SF TF DF OF RF AC: what a program may choose */
#define FLAG_IF 0x200UL
#define FLAG_TF 0x100UL
#define FLAG_DF 0x400UL

struct sigcontext {
    u64 r8, r9, r10, r11, r12, r13, r14, r15, rdi, rsi, rbp, rbx, rdx, rax, rcx, rsp, rip, rflags;
    u16 cs, gs, fs, ss;
    u64 error, vector, old_mask, cr2, fpstate, reserved[8];
};
struct ucontext { u64 flags, link; struct sigaltstack stack; struct sigcontext registers; u64 mask; };
struct siginfo { i32 signal, error, code, pad; u64 address; u64 rest[13]; };
struct sigframe { u64 restorer; struct ucontext context; struct siginfo info; };

struct fpu { u8 bytes[512]; } __attribute__((aligned(16)));

static void fpu_save(struct fpu *f) { asm volatile("fxsave64 %0" : "=m"(*f)); }
static void fpu_load(const struct fpu *f) { asm volatile("fxrstor64 %0" :: "m"(*f)); }

static void fill_registers(struct sigcontext *c, const struct trapframe *tf) {
    *c = (struct sigcontext){
        tf->r8, tf->r9, tf->r10, tf->r11, tf->r12, tf->r13, tf->r14, tf->r15, tf->rdi, tf->rsi, tf->rbp, tf->rbx,
        tf->rdx, tf->rax, tf->rcx, tf->rsp, tf->rip, tf->rflags, (u16)tf->cs, 0, 0, (u16)tf->ss, tf->error, tf->vector,
        current->blocked, current->fault_address, 0, {0},
    };
}

static bool on_altstack(u64 sp) {
    const struct sigaltstack *s = &current->altstack;

    return sp - s->sp <= s->size;
}

static u64 stack_for(const struct trapframe *tf, const struct sigaction *action) {
    const struct sigaltstack *s = &current->altstack;

    if (action->flags & SA_ONSTACK && s->size && !on_altstack(tf->rsp))
        return s->sp + s->size;
    return tf->rsp - RED_ZONE;
}

void signal_call_handler(int signal) {
    struct sigaction *action = &current->process->actions[signal];
    struct trapframe *tf = frame_of(current);
    u64 fp = ROUND_DOWN(stack_for(tf, action) - sizeof(struct fpu), 64);
    u64 at = ROUND_DOWN(fp - sizeof(struct sigframe), 16) - 8;
    bool exception = tf->vector < VEC_IRQ0;
    struct sigframe frame = {.restorer = action->restorer};
    struct fpu fpu;

    fpu_save(&fpu);
    fill_registers(&frame.context.registers, tf);
    frame.context.registers.fpstate = fp;
    frame.context.stack = current->altstack;
    frame.context.mask = current->blocked;
    frame.info.signal = signal;
    frame.info.code = exception ? SI_KERNEL : SI_USER;
    frame.info.address = exception ? current->fault_address : (u64)current->process->pid;
    if (copy_out(fp, &fpu, sizeof fpu) || copy_out(at, &frame, sizeof frame)) {
        print("%s[%d]: no stack for the handler of %s", current->process->name, current->process->pid, signal_name(signal));
        process_killed(SIGSEGV);
    }
    current->blocked |= action->mask | (action->flags & SA_NODEFER ? 0 : 1UL << (signal - 1));
    tf->rip = action->handler;
    tf->rsp = at;
    tf->rdi = (u64)signal;
    tf->rsi = at + offsetof(struct sigframe, info);
    tf->rdx = at + offsetof(struct sigframe, context);
    tf->rax = 0;
    tf->rflags &= ~(FLAG_DF | FLAG_TF);
    tf->vector = 0;             /* not a plain return from a system call: every register counts */
    if (action->flags & SA_RESETHAND)
        action->handler = SIG_DFL;
    if (tf->rip >= USER_TOP)
        process_killed(SIGSEGV);
}

i64 sys_rt_sigreturn(void) {
    struct trapframe *tf = frame_of(current);
    struct sigframe frame;
    struct fpu fpu;
    const struct sigcontext *c = &frame.context.registers;
    u32 mxcsr;

    if (copy_in(&frame, tf->rsp - 8, sizeof frame) || c->rip >= USER_TOP)
        process_killed(SIGSEGV);
    if (c->fpstate) {
        if (copy_in(&fpu, c->fpstate, sizeof fpu))
            process_killed(SIGSEGV);
        memcpy(&mxcsr, fpu.bytes + MXCSR_AT, sizeof mxcsr);
        mxcsr &= MXCSR_MASK;                    /* FXRSTOR faults on reserved bits */
        memcpy(fpu.bytes + MXCSR_AT, &mxcsr, sizeof mxcsr);
        fpu_load(&fpu);
    }
    current->blocked = frame.context.mask;
    *tf = (struct trapframe){
        .r15 = c->r15, .r14 = c->r14, .r13 = c->r13, .r12 = c->r12, .rbp = c->rbp, .rbx = c->rbx, .r11 = c->r11,
        .r10 = c->r10, .r9 = c->r9, .r8 = c->r8, .rax = c->rax, .rcx = c->rcx, .rdx = c->rdx, .rsi = c->rsi, .rdi = c->rdi,
        .rip = c->rip, .cs = tf->cs, .rflags = (c->rflags & USER_FLAGS) | FLAG_IF | 2, .rsp = c->rsp, .ss = tf->ss,
    };
    return (i64)tf->rax;
}
