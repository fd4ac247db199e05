/* The first C code, and the ends of the machine. */
#include "kernel.h"
#include "native.h"
#include "x86.h"

#define PKRU_AT_START 0x55555554        /* as on Linux: key 0 only */

/* Physical address of the boot information → the kernel. */
void native_main(struct multiboot *info) {
    static struct bootinfo boot;

    segments_init();
    pic_init();                 /* before the UART may interrupt: an 8259 that is set up forgets the edge */
    uart_init();
    memory_init();
    timer_init();
    read_boot_information((struct multiboot *)((u64)info + DIRECT_MAP), &boot);
    kernel_main(&boot);
}

/* Every exception and interrupt.  Interrupts come in user mode and in
 * plat_wait() only; an exception in the kernel is the kernel's own fault. */
void native_trap(struct trapframe *tf, u64 fault_address) {
    if (tf->vector >= VEC_IRQ0)
        interrupt_done(tf->vector);
    else if (!(tf->cs & 3))
        panic("exception %lu, error %lx, in the kernel at rip %lx, address %lx, rsp %lx",
              tf->vector, tf->error, tf->rip, fault_address, tf->rsp);
    trap(tf, fault_address);
}

void sleep_until_interrupt(void);

void plat_wait(void) { sleep_until_interrupt(); }

void plat_exit(int status) { power_off(status); }

static bool has_fsgsbase(void) { return cr4 & CR4_FSGSBASE; }

void plat_set_fsbase(u64 base) {
    if (has_fsgsbase())
        write_fs_base(base);
    else
        wrmsr(MSR_FS_BASE, base);
}

void plat_set_gsbase(u64 base) {
    if (has_fsgsbase())
        write_gs_base(base);
    else
        wrmsr(MSR_GS_BASE, base);
}

u64 plat_get_fsbase(void) { return has_fsgsbase() ? read_fs_base() : rdmsr(MSR_FS_BASE); }
u64 plat_get_gsbase(void) { return has_fsgsbase() ? read_gs_base() : rdmsr(MSR_GS_BASE); }

static bool has_keys(void) { return cr4 & CR4_PKE; }

static u32 rdpkru(void) {
    u32 value, zero;
    asm volatile("rdpkru" : "=a"(value), "=d"(zero) : "c"(0));
    return value;
}

static void wrpkru(u32 value) { asm volatile("wrpkru" :: "a"(value), "c"(0), "d"(0)); }

void plat_save(struct plat_context *c) {
    *c = (struct plat_context){.fs = plat_get_fsbase(), .gs = plat_get_gsbase(), .own = {has_keys() ? rdpkru() : 0}};
}

void plat_load(const struct plat_context *c) {
    plat_set_fsbase(c->fs);
    plat_set_gsbase(c->gs);
    if (has_keys())
        wrpkru((u32)c->own[0]);
}

void plat_start(void) {
    plat_load(&(struct plat_context){.own = {PKRU_AT_START}});
}

bool plat_emulate(struct trapframe *tf) {
    (void)tf;
    return false;
}

void plat_settle(struct trapframe *tf) { (void)tf; }

u32 plat_pkru(void) { return has_keys() ? rdpkru() : 0; }
void plat_set_pkru(u32 value) {
    if (has_keys())
        wrpkru(value);
}
void plat_reset_pkru(void) { plat_set_pkru(PKRU_AT_START); }

u64 plat_user_top(void) { return USER_TOP; }
void *plat_foreign_pointer(u64 va) {
    (void)va;
    return NULL;
}
bool plat_may_move_code(void) { return true; }
bool plat_owns_code(void) { return false; }

u32 plat_keys(void) { return has_keys() ? 0 : ~0u; }

void plat_set_key(int key, u32 rights) { wrpkru((rdpkru() & ~(3u << 2 * key)) | rights << 2 * key); }

u64 plat_hwcap(void) { return cpuid(1, 0).d; }

int plat_check_protection(bool write, bool exec, bool shared) {
    (void)write, (void)exec, (void)shared;
    return 0;
}

int plat_make_executable(u64 as, u64 va, u64 npages) {
    (void)as, (void)va, (void)npages;
    return 0;
}
