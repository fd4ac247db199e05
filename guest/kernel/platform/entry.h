/* Into the kernel and out of it, and what else of a thread lies in the processor. */
#ifndef PLATFORM_ENTRY_H
#define PLATFORM_ENTRY_H

#include "types.h"

/* What the user's registers were when the kernel was entered. */
struct trapframe {
    u64 r15, r14, r13, r12, rbp, rbx;           /* callee-saved */
    u64 r11, r10, r9, r8, rax, rcx, rdx, rsi, rdi;
    u64 vector;                                 /* 0..31 exceptions, 32.. IRQs, VEC_SYSCALL */
    u64 error;                                  /* exception error code, else 0 */
    u64 rip, cs, rflags, rsp, ss;
};

#define VEC_SYSCALL 256
#define VEC_IRQ0    32
#define IRQ_SCREEN  (VEC_IRQ0 + 3)              /* stream 2 has a byte: the terminal's size changed (tty_control.c) */

#define IRQ_VIRTIO  (VEC_IRQ0 + 5)              /* pager/virtio.h */

/* The x87 and SSE registers, as FXSAVE stores them. */
struct fpu { unsigned char bytes[512]; } __attribute__((aligned(16)));

/* A thread's other registers, while it does not run. */
struct plat_context { u64 fs, gs, own[3]; };

/* Platform → kernel, with (virtual) interrupts off. */
void trap(struct trapframe *, u64 fault_address);

/* Kernel → platform. */
void plat_set_kstack(void *top);                            /* where the next entry from user builds its trapframe */
void plat_enter_user(struct trapframe *) __attribute__((noreturn)); /* return to user with these registers */
void plat_set_fsbase(u64), plat_set_gsbase(u64);
u64  plat_get_fsbase(void), plat_get_gsbase(void);
void plat_save(struct plat_context *);                      /* of the running thread */
void plat_load(const struct plat_context *);
void plat_reset_user_state(void);                           /* of a new program: FS and GS 0, the keys it starts with */
void plat_leave_gate(struct trapframe *);                   /* of a thread that was interrupted: finish a crossing half done */
bool plat_emulate(struct trapframe *);                      /* #UD: emulate the instruction, if it is the platform's to emulate */
u64  plat_hwcap(void);                                      /* AT_HWCAP: CPUID.1:EDX */

#endif
