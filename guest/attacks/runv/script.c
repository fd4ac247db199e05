/* A kernel in a virtual machine that does what a script says: the instructions that exit, loads, stores and pages of its own.
 * An exception is its end. */
#include "kernel.h"
#include "pte.h"
#include "script_kernel.h"
#include "x86.h"

#include "script.h"

enum { VMCALL, LOAD, STORE, MAP, IN, OUT, RDMSR, WRMSR, CPUID, XSETBV, CR0, CR3, CR4, CR8, INVLPG, OUTS, CACHE };     /* paracell/fuzz/script_runv.py */

SCRIPT_HERE

static i64 vmcall(const u64 *a) {
    u64 result = a[0];

    asm volatile("vmcall" : "+a"(result) : "b"(a[1]), "c"(a[2]), "d"(a[3]) : "memory");
    return (i64)result;
}

/* a[1]: of 1, 2 or 4 bytes. */
static i64 in(const u64 *a) {
    u32 value = 0;

    switch (a[1] & 3) {
    case 0: return inb((u16)a[0]);
    case 1: asm volatile("inw %w1, %w0" : "+a"(value) : "Nd"((u16)a[0])); return value;
    default: asm volatile("inl %w1, %0" : "=a"(value) : "Nd"((u16)a[0])); return value;
    }
}

static void out(const u64 *a) {
    switch (a[1] & 3) {
    case 0: outb((u16)a[0], (u8)a[2]); break;
    case 1: asm volatile("outw %w0, %w1" :: "a"((u16)a[2]), "Nd"((u16)a[0])); break;
    default: outl((u16)a[0], (u32)a[2]); break;
    }
}

static i64 take(u32 what, const u64 *a) {
    switch (what) {
    case VMCALL: return vmcall(a);
    case LOAD: return *(volatile i64 *)a[0];
    case STORE: *(volatile u64 *)a[0] = a[1]; break;
    case MAP: *script_map(a[0], a[1]) |= a[2]; break;
    case IN: return in(a);
    case OUT: out(a); break;
    case RDMSR: return (i64)rdmsr((u32)a[0]);
    case WRMSR: wrmsr((u32)a[0], a[1]); break;
    case CPUID: return cpuid((u32)a[0], (u32)a[1]).a;
    case XSETBV: asm volatile("xsetbv" :: "c"((u32)a[0]), "a"((u32)a[1]), "d"((u32)(a[1] >> 32))); break;
    case CR0: asm volatile("mov %0, %%cr0" :: "r"(a[0]) : "memory"); break;
    case CR3: write_cr3(a[0]); break;
    case CR4: write_cr4(a[0]); break;
    case CR8: asm volatile("mov %0, %%cr8" :: "r"(a[0])); break;
    case INVLPG: asm volatile("invlpg (%0)" :: "r"(a[0]) : "memory"); break;
    case OUTS: outsb((u16)a[0], (const u8 *)a[1], a[2] & 0xffff); break;
    case CACHE: asm volatile("wbinvd" ::: "memory"); break;
    default: break;
    }
    return 0;
}

void script_begin(void) {
    u64 a[SCRIPT_ARGUMENTS];

    script_wait();
    for (i64 n; (n = script_next(a)) >= 0;)
        script.results[n] = take(script.steps[n].what, a);
    for (;;)
        asm volatile("hlt");
}
