/* The narrow platform layer: what the container kernel asks of the machine
 * below it.  Two builds: guest/native/ (the kernel at ring 0) and
 * pku/xgate/ (the kernel at ring 3, kept apart by protection keys).
 *
 *   kernel_main(), trap()        platform  →  kernel
 *   plat_*()                     kernel    →  platform
 */
#ifndef PLATFORM_H
#define PLATFORM_H

#include "types.h"

/* What the user's registers were when the kernel was entered. */
struct trapframe {
    u64 r15, r14, r13, r12, rbp, rbx;           /* callee-saved */
    u64 r11, r10, r9, r8, rax, rcx, rdx, rsi, rdi;
    u64 vector;                                 /* 0..31 exceptions, 32.. IRQs, VEC_SYSCALL */
    u64 error;                                  /* exception error code, else 0 */
    u64 rip, cs, rflags, rsp, ss;
};

/* The x87 and SSE registers, as FXSAVE stores them. */
struct fpu { unsigned char bytes[512]; } __attribute__((aligned(16)));

/* What else belongs to a thread and lies in the processor while it runs. */
struct plat_context { u64 fs, gs, own[3]; };

#define VEC_SYSCALL 256
#define VEC_IRQ0    32
#define IRQ_SCREEN  (VEC_IRQ0 + 3)              /* stream 2 has a byte: the screen tells of itself (tty_control.c) */

struct blob { u8 *data; u64 size; };

struct bootinfo {
    u64 memory;                 /* bytes of (guest-)physical memory, from 0 */
    u64 free_start;             /* first physical byte not used by kernel image or modules */
    struct blob rootfs;         /* ustar/GNU tar, addressable by the kernel */
    struct blob init;           /* ARGC\0 ENVC\0 argv\0… env\0… */
    const char *cmdline;
};

/* Platform → kernel.  Both run with (virtual) interrupts off. */
void kernel_main(struct bootinfo *) __attribute__((noreturn));
void trap(struct trapframe *, u64 fault_address);

/* Kernel → platform. */
void plat_set_kstack(void *top);                            /* where the next entry from user builds its trapframe */
void plat_enter_user(struct trapframe *) __attribute__((noreturn)); /* return to user with these registers */
void plat_set_fsbase(u64), plat_set_gsbase(u64);
u64  plat_get_fsbase(void), plat_get_gsbase(void);
void plat_save(struct plat_context *);                      /* of the running thread */
void plat_load(const struct plat_context *);
void plat_start(void);                                      /* of a new program: FS and GS 0, the keys it starts with */
void plat_settle(struct trapframe *);                       /* of a thread that was interrupted: be in the program, not between */
bool plat_emulate(struct trapframe *);                      /* #UD: an instruction that the platform stands for? */
u64  plat_hwcap(void);                                      /* AT_HWCAP: CPUID.1:EDX */

/* Page tables.  The kernel keeps one 4-level radix tree of hardware format per
 * address space (pagetable.c).  Native loads it into CR3.  ParaCell never
 * does: there it is what the host is told, and the host's own tables follow. */
typedef u64 pte_t;
u64  plat_as_create(pte_t *root);                           /* a handle for the new space, or 0 */
void plat_as_destroy(u64 as);
void plat_as_switch(u64 as);
/* `count` consecutive 4 KiB leaf entries starting at `va` have just been set to
 * entries[i] in the tree (0 = unmapped).  `stale`: some of them were present
 * before, so that a TLB may still hold what they were. */
void plat_pte_set(u64 as, u64 va, const pte_t *entries, u64 count, bool stale);

/* Time, interrupts, idling. */
u64  plat_cycles(void);                                     /* TSC */
u64  plat_cycles_per_second(void);
void plat_timer(u64 deadline_cycles);                       /* 0 = off; arrives as VEC_IRQ0 */
void plat_wait(void);                                       /* sleep until an interrupt; it is delivered through trap() */

/* Console: stream 0/1 is COM1, 2 is COM2. */
void plat_console_write(int stream, const u8 *, u64 count);
i64  plat_console_read(int stream, u8 *, u64 count);        /* ≥1 bytes, 0 at end of input, -EAGAIN if none yet */

void plat_exit(int status) __attribute__((noreturn));

/* W^X, where the platform insists on it: may user pages have these rights
 * together?  0, or -errno. */
int  plat_check_protection(bool write, bool exec, bool shared);

/* Protection keys of user pages: which are not to be given away (bit n is key n),
 * and the running thread's rights to one (PKEY_DISABLE_ACCESS 1, PKEY_DISABLE_WRITE 2). */
u32  plat_keys(void);
void plat_set_key(int key, u32 rights);

/* The running thread's PKRU, as a signal frame keeps it.  A platform takes what is its own out of what it is given. */
u32  plat_pkru(void);
void plat_set_pkru(u32);
void plat_reset_pkru(void);                                /* key 0 only: what a program starts with, and a signal's handler */

/* What a program may not do, unless a positive control lets it. */
u64  plat_user_top(void);                                   /* map at this address and above: USER_TOP */
void *plat_foreign_pointer(u64 va);                         /* give such an address to a system call: NULL */
bool plat_may_move_code(void);                              /* mremap() what is executable */
bool plat_owns_code(void);                                  /* code to be looked through is copied, if anybody shares it */

/* User pages [va, va + npages) are about to become executable: ParaCell scans
 * them for WRPKRU and XRSTOR and rewrites system calls, native does nothing.
 * The platform reaches them through text_page() (vm.h), which brings them in.
 * 0; 1 if that made a copy that is worth keeping; or -errno (the mapping is then refused). */
int  plat_make_executable(u64 as, u64 va, u64 npages);

#endif
