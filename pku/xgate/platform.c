/* The platform layer of a ParaCell container: what the kernel asks, as hypercalls. */
#include "errno.h"
#include "linux.h"
#include "options.h"
#include "vm.h"
#include "xgate.h"

struct xgate_stats xgate_stats;

/* What an attack is after; nothing reads it. */
__attribute__((used, retain)) volatile u64 gk_secret[512] __attribute__((aligned(4096))) = {0x5ec2e7c0ffee0001};

static u64 hz, hwcap;

static i64 hypercall(u64 number, u64 a, u64 b, u64 c, u64 d) {
    register u64 r10 asm("r10") = d;
    i64 result;

    asm volatile("syscall"
                 : "=a"(result)
                 : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10)
                 : "rcx", "r11", "memory");
    return result;
}

void xgate_main(struct gk_boot *boot) {
    static struct bootinfo info;

    defences_init(boot->cmdline);
    hwcap = boot->hwcap;
    hz = (u64)hypercall(HC_HZ, 0, 0, 0, 0);
    info.memory = boot->memory;
    info.free_start = boot->free_start;
    info.rootfs = (struct blob){direct(boot->rootfs), boot->rootfs_size};
    info.init = (struct blob){direct(boot->init), boot->init_size};
    info.cmdline = boot->cmdline;
    kernel_main(&info);
}

/* A thread that is in the gate with the program's own rights: on its way in it goes back to the SYSCALL, on its way
 * out it is out.  A signal's handler uses the gate, too, and the scratch page with it. */
void plat_settle(struct trapframe *tf) {
    const char *at = (const char *)tf->rip;

    if (at >= xgate_entry && at <= xgate_enter_wrpkru) {
        tf->rax = at >= xgate_has_rax ? tf->r11 : tf->rax;
        tf->rdx = at >= xgate_has_rdx ? xgate_scratch[1] : tf->rdx;
        tf->rcx = at >= xgate_has_rcx ? xgate_scratch[0] : tf->rcx;
        tf->rip = tf->rcx - 2;
    } else if (at > xgate_exit_wrpkru && at < xgate_refused) {
        tf->rax = tf->r11;
        tf->rdx = xgate_scratch[1];
        tf->rip = tf->rcx = xgate_scratch[0];
    }
}

/* An event that the host put on our stack: a raw SYSCALL, an exception, an interrupt. */
void xgate_event(struct trapframe *tf, u64 address) {
    if (tf->vector == VEC_SYSCALL)
        xgate_stats.slow_calls++;
    trap(tf, address);
}

void plat_set_kstack(void *top) { xgate_vcpu.stack = (u64)top; }

void plat_set_fsbase(u64 base) { asm volatile("wrfsbase %0" :: "r"(base)); }
void plat_set_gsbase(u64 base) { asm volatile("wrgsbase %0" :: "r"(base)); }
u64 plat_get_fsbase(void) { u64 v; asm volatile("rdfsbase %0" : "=r"(v)); return v; }
u64 plat_get_gsbase(void) { u64 v; asm volatile("rdgsbase %0" : "=r"(v)); return v; }
u64 plat_hwcap(void) { return hwcap; }

/* The gate's scratch page belongs to the thread that is in the gate. */
void plat_save(struct plat_context *c) {
    *c = (struct plat_context){plat_get_fsbase(), plat_get_gsbase(), {xgate_scratch[0], xgate_scratch[1], xgate_vcpu.pkru}};
}

void plat_load(const struct plat_context *c) {
    plat_set_fsbase(c->fs);
    plat_set_gsbase(c->gs);
    xgate_scratch[0] = c->own[0];
    xgate_scratch[1] = c->own[1];
    xgate_vcpu.pkru = c->own[2] | PKRU_USER;
}

void plat_start(void) { plat_load(&(struct plat_context){.own = {0, 0, PKRU_START}}); }

u32 plat_keys(void) { return 1u << KEY_KERNEL; }

static void set_user_pkru(u32 value) { xgate_vcpu.pkru = value | PKRU_USER; }

u32 plat_pkru(void) { return (u32)xgate_vcpu.pkru; }

void plat_set_pkru(u32 value) {
    set_user_pkru(value);
    if (OFF(sigreturn))
        xgate_vcpu.pkru = value;
}

void plat_reset_pkru(void) { set_user_pkru(PKRU_START); }

void plat_set_key(int key, u32 rights) {
    set_user_pkru(((u32)xgate_vcpu.pkru & ~(3u << 2 * key)) | rights << 2 * key);
}

/* The program's own WRPKRU (scan.c put UD2 in its place): it may have its keys, but not ours. */
bool plat_emulate(struct trapframe *tf) {
    u8 code[3];
    u64 rex = (user_word(tf->rip, 1) & 0xf0) == 0x40;   /* it may stand before WRPKRU, where it means nothing */

    if (copy_in(code, tf->rip + rex, sizeof code) || memcmp(code, WRPKRU_TAKEN_OUT, sizeof code) || (u32)tf->rcx || (u32)tf->rdx)
        return false;
    set_user_pkru((u32)tf->rax);
    if (OFF(emulate))
        xgate_vcpu.pkru = (u32)tf->rax;
    tf->rip += rex + sizeof code;
    return true;
}

u64 plat_as_create(pte_t *root) {
    (void)root;                 /* never loaded: the host has its own tables */
    i64 handle = hypercall(HC_AS_CREATE, 0, 0, 0, 0);
    return handle > 0 ? (u64)handle : 0;
}

void plat_as_destroy(u64 as) { hypercall(HC_AS_DESTROY, as, 0, 0, 0); }
void plat_as_switch(u64 as) { hypercall(HC_AS_SWITCH, as, 0, 0, 0); }

void plat_pte_set(u64 as, u64 va, const pte_t *entries, u64 count, bool stale) {
    (void)stale;                /* the host sees what was there */
    for (u64 n; count; count -= n, entries += n, va += n * PAGE_SIZE) {
        n = MIN(count, (u64)HC_LIMIT);
        hypercall(HC_PTE_SET, as, va, (u64)entries, n);
    }
}

u64 plat_cycles(void) {
    u32 low, high;
    asm volatile("rdtsc" : "=a"(low), "=d"(high));
    return (u64)high << 32 | low;
}

u64 plat_cycles_per_second(void) { return hz; }
void plat_timer(u64 deadline) { hypercall(HC_TIMER, deadline, 0, 0, 0); }

void plat_wait(void) {
    struct trapframe tf = {.vector = (u64)hypercall(HC_WAIT, 0, 0, 0, 0)};
    trap(&tf, 0);
}

void plat_console_write(int stream, const u8 *from, u64 count) {
    hypercall(HC_CONSOLE_WRITE, (u64)stream, (u64)from, count, 0);
}

i64 plat_console_read(int stream, u8 *to, u64 count) {
    return hypercall(HC_CONSOLE_READ, (u64)stream, (u64)to, count, 0);
}

void plat_exit(int status) {
    hypercall(HC_EXIT, (u64)status, 0, 0, 0);
    for (;;)
        ;
}

u64 plat_user_top(void) { return OFF(range) ? ~PAGE_MASK : USER_TOP; }
void *plat_foreign_pointer(u64 va) { return OFF(usercopy) ? (void *)va : NULL; }
bool plat_may_move_code(void) { return OFF(move); }
bool plat_owns_code(void) { return !OFF(copy) && !OFF(shared); }

/* W^X, and no page that somebody else may still write. */
int plat_check_protection(bool write, bool exec, bool shared) {
    return exec && ((write && !OFF(scan)) || (shared && !OFF(shared))) ? -EACCES : 0;
}

int plat_make_executable(u64 as, u64 va, u64 npages) {
    u64 size = npages * PAGE_SIZE;

    (void)as;
    rewrite_init(va, size);
    if (!OFF(scan) && !scan(va, size))
        return -EACCES;
    rewrite(va, size);
    return 1;
}
