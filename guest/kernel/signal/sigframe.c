/* Running a program's signal handler, and coming back from it.
 *
 *   user stack, downwards from the interrupted RSP - 128 (the ABI's red zone):
 *   │ FXSAVE area 512, 64-aligned │ struct sigframe: siginfo, ucontext, return address │ ← RSP of the handler
 */
#include "kernel.h"
#include "mm/vm.h"
#include "platform/entry.h"
#include "platform/keys.h"
#include "syscall/syscalls.h"
#include "task/fpu.h"
#include "task/process.h"

#define RED_ZONE 128
#define MXCSR_MASK 0xffff
#define MXCSR_AT 24             /* in the FXSAVE area */

/* Linux's selectors of user code and data.  Ours have other numbers; a frame shows Linux's, and sigreturn ignores them. */
#define LINUX_CS 0x33
#define LINUX_SS 0x2b

#define USER_FLAGS 0x50dd5UL    /* CF PF AF ZF SF TF DF OF RF AC: what a program may choose */
#define FLAG_IF 0x200UL
#define FLAG_TF 0x100UL
#define FLAG_DF 0x400UL

struct sigcontext {
    u64 r8, r9, r10, r11, r12, r13, r14, r15, rdi, rsi, rbp, rbx, rdx, rax, rcx, rsp, rip, rflags;
    u16 cs, gs, fs, ss;
    u64 error, vector, old_mask, cr2, fpstate, pkru, reserved[7];
};
struct ucontext { u64 flags, link; struct sigaltstack stack; struct sigcontext registers; u64 mask; };
struct sigframe { u64 restorer; struct ucontext context; struct siginfo info; };

u64 signal_frame_size(void) { return RED_ZONE + 64 + sizeof(struct fpu) + 16 + sizeof(struct sigframe) + 8; }

static void fill_registers(struct sigcontext *c, const struct trapframe *tf, u64 mask, u64 address) {
    *c = (struct sigcontext){
        tf->r8, tf->r9, tf->r10, tf->r11, tf->r12, tf->r13, tf->r14, tf->r15, tf->rdi, tf->rsi, tf->rbp, tf->rbx,
        tf->rdx, tf->rax, tf->rcx, tf->rsp, tf->rip, tf->rflags, LINUX_CS, 0, 0, LINUX_SS, tf->error, tf->vector,
        mask, address, 0, plat_pkru(), {0},
    };
}

static bool on_altstack(u64 sp) {
    const struct sigaltstack *s = &current->altstack;

    return s->size && sp - s->sp <= s->size;
}

static u64 stack_for(const struct trapframe *tf, const struct sigaction *action) {
    const struct sigaltstack *s = &current->altstack;

    if (action->flags & SA_ONSTACK && s->size && !on_altstack(tf->rsp))
        return s->sp + s->size;
    return tf->rsp - RED_ZONE;
}

/* The mask that comes back with sigreturn: what was blocked before a call replaced it. */
static u64 old_mask(struct task *t) {
    u64 mask = t->restore_blocked ? t->saved_blocked : t->blocked;

    t->restore_blocked = false;
    return mask;
}

void signal_call_handler(const struct siginfo *info) {
    int signal = info->signal;
    struct sigaction *action = &current->process->actions[signal];
    struct trapframe *tf = frame_of(current);

    plat_leave_gate(tf);
    u64 fp = ROUND_DOWN(stack_for(tf, action) - sizeof(struct fpu), 64);
    u64 at = ROUND_DOWN(fp - sizeof(struct sigframe), 16) - 8;
    struct sigframe frame = {.restorer = action->restorer, .info = *info};
    struct fpu fpu;

    fpu_save(&fpu);
    frame.context.mask = old_mask(current);
    fill_registers(&frame.context.registers, tf, frame.context.mask, tf->vector == 14 ? info->address : 0);
    frame.context.registers.fpstate = fp;
    frame.context.stack = current->altstack;
    frame.context.stack.flags |= on_altstack(tf->rsp) ? SS_ONSTACK : 0;
    if (copy_out(fp, &fpu, sizeof fpu) || copy_out(at, &frame, sizeof frame)) {
        print("%s[%d]: no stack for the handler of %s", current->name, current->process->pid, signal_name(signal));
        process_killed(SIGSEGV);
    }
    fpu_load(&fpu_at_start);
    plat_reset_pkru();          /* whatever the interrupted code had shut must not stop the handler */
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
    current->blocked = frame.context.mask & ~UNSTOPPABLE;
    plat_set_pkru((u32)c->pkru);
    *tf = (struct trapframe){
        .r15 = c->r15, .r14 = c->r14, .r13 = c->r13, .r12 = c->r12, .rbp = c->rbp, .rbx = c->rbx, .r11 = c->r11,
        .r10 = c->r10, .r9 = c->r9, .r8 = c->r8, .rax = c->rax, .rcx = c->rcx, .rdx = c->rdx, .rsi = c->rsi, .rdi = c->rdi,
        .rip = c->rip, .cs = tf->cs, .rflags = (c->rflags & USER_FLAGS) | FLAG_IF | 2, .rsp = c->rsp, .ss = tf->ss,
    };
    return (i64)tf->rax;
}
