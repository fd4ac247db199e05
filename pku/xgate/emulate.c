/* WRPKRU and XRSTOR of a program's own, which stand openly in its code: scan.c has made them undefined, and here the kernel
 * does what they do, as far as the program may.  Dynamic loaders use XRSTOR each time that they look a function up.
 *
 *   WRPKRU   0f 01 ef         →  0f 0b ef             UD2, and a byte that tells it from a UD2 of the program's own
 *   XRSTOR   0f ae /5 memory  →  0f ff /5 memory      UD0, with the operand where it was
 *
 * Source: SDM volume 1, "Operation of XRSTOR"; volume 2, "XRSTOR".
 */
#include "linux.h"
#include "mm/vm.h"
#include "platform/entry.h"
#include "platform/keys.h"
#include "signal/signal.h"
#include "task/fpu.h"
#include "xgate.h"

#define X87 1UL
#define SSE 2UL
#define PKRU (1UL << 9)
#define COMPACT (1UL << 63)
#define MXCSR_AT_START 0x1f80
#define MXCSR_MASK 0xffff

/* The XSAVE area. */
struct area { struct fpu legacy; u64 components, format, reserved[6]; };
#define PKRU_STANDARD 0xa80
#define PKRU_COMPACT sizeof(struct area)

/* In the FXSAVE area: x87 without MXCSR, and XMM0 to XMM15. */
#define MXCSR 24
#define ST0 32
#define XMM0 160
#define XMM_END (XMM0 + 256)

static u64 register_of(const struct trapframe *tf, u32 number) {
    const u64 registers[16] = {tf->rax, tf->rcx, tf->rdx, tf->rbx, tf->rsp, tf->rbp, tf->rsi, tf->rdi,
                               tf->r8, tf->r9, tf->r10, tf->r11, tf->r12, tf->r13, tf->r14, tf->r15};
    return registers[number];
}

/* The address that the ModRM byte at `at` names, and the end of the instruction, which has no immediate. */
static u64 operand(const struct trapframe *tf, u8 rex, u64 at, u64 *end) {
    u8 modrm = (u8)user_word(at++, 1), mod = modrm >> 6, rm = modrm & 7, sib = rm == 4 ? (u8)user_word(at++, 1) : 0;
    bool relative = mod == 0 && rm == 5, no_base = rm == 4 && mod == 0 && (sib & 7) == 5;
    u32 index = (sib >> 3 & 7) | (rex & 2 ? 8 : 0), base = (rm == 4 ? sib & 7 : rm) | (rex & 1 ? 8 : 0);
    u64 address = relative || no_base ? 0 : register_of(tf, base);

    if (rm == 4 && index != 4)
        address += register_of(tf, index) << (sib >> 6);
    if (mod == 1)
        address += (u64)(i64)(i8)user_word(at, 1);
    else if (mod == 2 || relative || no_base)
        address += (u64)(i64)(i32)user_word(at, 4);
    *end = at + (mod == 1 ? 1 : mod == 2 || relative || no_base ? 4 : 0);
    return relative ? address + *end : address;
}

static bool is_well_formed(const struct area *a) {
    u64 known = X87 | SSE | PKRU, form = a->format & ~COMPACT, or = 0;

    for (u64 i = 0; i < (a->format & COMPACT ? COUNT(a->reserved) : 1); i++)     /* the standard form leaves the others alone */
        or |= a->reserved[i];
    return !or && !(a->components & ~known) && !(form & ~known) && (a->format & COMPACT ? !(a->components & ~form) : !form);
}

/* The compacted form has MXCSR as a part of SSE, the standard form always. */
static bool loads_mxcsr(const struct area *a, u64 wanted) { return wanted & SSE && (!(a->format & COMPACT) || a->components & SSE); }

static u32 mxcsr_of(const struct fpu *f) { return *(const u32 *)(const void *)(f->bytes + MXCSR); }
static void set_mxcsr(struct fpu *f, u32 value) { *(u32 *)(void *)(f->bytes + MXCSR) = value; }

/* Bring the components that are asked for from the area, or to what they are at the start where it has none. */
static void restore(const struct area *a, u64 wanted) {
    const struct fpu *x87 = a->components & X87 ? &a->legacy : &fpu_at_start, *sse = a->components & SSE ? &a->legacy : &fpu_at_start;
    struct fpu now;

    fpu_save(&now);
    if (wanted & X87) {
        memcpy(now.bytes, x87->bytes, MXCSR);
        memcpy(now.bytes + ST0, x87->bytes + ST0, XMM0 - ST0);
    }
    if (wanted & SSE) {
        memcpy(now.bytes + XMM0, sse->bytes + XMM0, XMM_END - XMM0);
        set_mxcsr(&now, loads_mxcsr(a, wanted) ? mxcsr_of(&a->legacy) : MXCSR_AT_START);
    }
    fpu_load(&now);
}

static void fault(i32 code, u64 address) { signal_fault(SIGSEGV, code, address); }

static void xrstor(struct trapframe *tf, u64 address, u64 end) {
    u64 wanted = (u32)tf->rax & (X87 | SSE | PKRU);
    struct area a;
    u32 pkru = 0;

    if (address & 63) {
        fault(SI_KERNEL, 0);
        return;
    }
    if (copy_in(&a, address, sizeof a)) {
        fault(SEGV_MAPERR, address);
        return;
    }
    if (!is_well_formed(&a) || (loads_mxcsr(&a, wanted) && mxcsr_of(&a.legacy) & ~MXCSR_MASK)) {
        fault(SI_KERNEL, 0);
        return;
    }
    u64 place = address + (a.format & COMPACT ? PKRU_COMPACT : PKRU_STANDARD);
    if (wanted & a.components & PKRU && copy_in(&pkru, place, sizeof pkru)) {
        fault(SEGV_MAPERR, place);
        return;
    }
    restore(&a, wanted);
    if (wanted & PKRU)
        set_user_pkru(pkru);
    tf->rip = end;
}

bool plat_emulate(struct trapframe *tf) {
    u8 code[4], rex = (u8)user_word(tf->rip, 1);
    u64 at = tf->rip + ((rex & 0xf0) == 0x40), end;

    if (at == tf->rip)
        rex = 0;
    if (copy_in(code, at, 3))
        return false;
    if (!memcmp(code, XRSTOR_REPLACED, 2) && (code[2] >> 3 & 7) == 5 && code[2] >> 6 != 3) {
        u64 address = operand(tf, rex, at + 2, &end);
        xrstor(tf, address, end);
        return true;
    }
    if (memcmp(code, WRPKRU_REPLACED, 3) || (u32)tf->rcx || (u32)tf->rdx)
        return false;
    set_user_pkru((u32)tf->rax);
    if (OFF(emulate))
        xgate_vcpu.pkru = (u32)tf->rax;
    tf->rip = at + 3;
    return true;
}
