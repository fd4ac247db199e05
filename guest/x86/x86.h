/* Instructions and registers that C has no words for. */
#ifndef X86_H
#define X86_H

#include "types.h"

#define CR4_PGE (1UL << 7)
#define CR4_OSFXSR (1UL << 9)
#define CR4_OSXMMEXCPT (1UL << 10)
#define CR4_UMIP (1UL << 11)
#define CR4_FSGSBASE (1UL << 16)
#define CR4_PCIDE (1UL << 17)
#define CR4_OSXSAVE (1UL << 18)
#define CR4_SMEP (1UL << 20)
#define CR4_SMAP (1UL << 21)
#define CR4_PKE (1UL << 22)
#define CR0_MP (1UL << 1)
#define CR0_EM (1UL << 2)

#define MSR_APIC_BASE 0x1b
#define MSR_TSC_DEADLINE 0x6e0
#define MSR_X2APIC 0x800
#define MSR_STAR 0xc0000081
#define MSR_LSTAR 0xc0000082
#define MSR_SFMASK 0xc0000084
#define MSR_FS_BASE 0xc0000100
#define MSR_GS_BASE 0xc0000101

struct cpuid { u32 a, b, c, d; };

__attribute__((nodebug))        /* with debug information, the compiler orders what is around it in another way (build.py --debug) */
static inline struct cpuid cpuid(u32 leaf, u32 subleaf) {
    struct cpuid r;
    asm volatile("cpuid" : "=a"(r.a), "=b"(r.b), "=c"(r.c), "=d"(r.d) : "a"(leaf), "c"(subleaf));
    return r;
}
static inline u64 rdmsr(u32 msr) {
    u32 low, high;
    asm volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(msr));
    return (u64)high << 32 | low;
}
static inline void wrmsr(u32 msr, u64 value) {
    asm volatile("wrmsr" :: "c"(msr), "a"((u32)value), "d"((u32)(value >> 32)) : "memory");
}
static inline u64 rdtsc(void) {
    u32 low, high;
    asm volatile("rdtsc" : "=a"(low), "=d"(high));
    return (u64)high << 32 | low;
}
static inline u64 read_cr0(void) { u64 v; asm volatile("mov %%cr0, %0" : "=r"(v)); return v; }
static inline u64 read_cr3(void) { u64 v; asm volatile("mov %%cr3, %0" : "=r"(v)); return v; }
static inline u64 read_cr4(void) { u64 v; asm volatile("mov %%cr4, %0" : "=r"(v)); return v; }
static inline void write_cr2(u64 v) { asm volatile("mov %0, %%cr2" :: "r"(v) : "memory"); }
static inline u64 read_cr2(void) { u64 v; asm volatile("mov %%cr2, %0" : "=r"(v)); return v; }
static inline void write_cr0(u64 v) { asm volatile("mov %0, %%cr0" :: "r"(v) : "memory"); }
static inline void write_cr3(u64 v) { asm volatile("mov %0, %%cr3" :: "r"(v) : "memory"); }
static inline void write_cr4(u64 v) { asm volatile("mov %0, %%cr4" :: "r"(v) : "memory"); }
/* With CR4.PCIDE. */
#define INVPCID_PAGE 0          /* of one PCID */
#define INVPCID_ONE 1           /* all of one PCID, but for global ones */
#define INVPCID_ALL 3           /* of all PCIDs, but for global ones */
static inline void invpcid(u64 type, u64 pcid, u64 va) {
    struct { u64 pcid, va; } descriptor = {pcid, va};
    asm volatile("invpcid %0, %1" :: "m"(descriptor), "r"(type) : "memory");
}
/* Drop every translation, those of global pages too. */
static inline void flush_tlb(void) {
    u64 cr4 = read_cr4();

    write_cr4(cr4 & ~CR4_PGE);
    write_cr4(cr4 | CR4_PGE);
}
/* With CR4.FSGSBASE. */
static inline u64 read_fs_base(void) { u64 v; asm volatile("rdfsbase %0" : "=r"(v)); return v; }
static inline u64 read_gs_base(void) { u64 v; asm volatile("rdgsbase %0" : "=r"(v)); return v; }
static inline void write_fs_base(u64 v) { asm volatile("wrfsbase %0" :: "r"(v)); }
static inline void write_gs_base(u64 v) { asm volatile("wrgsbase %0" :: "r"(v)); }
/* With CR4.PKE. */
static inline u32 rdpkru(void) {
    u32 value, zero;
    asm volatile("rdpkru" : "=a"(value), "=d"(zero) : "c"(0));
    return value;
}
static inline void wrpkru(u32 value) { asm volatile("wrpkru" :: "a"(value), "c"(0), "d"(0) : "memory"); }
static inline void invlpg(u64 va) { asm volatile("invlpg (%0)" :: "r"(va) : "memory"); }
static inline void outb(u16 port, u8 v) { asm volatile("outb %0, %1" :: "a"(v), "Nd"(port)); }
static inline void outl(u16 port, u32 v) { asm volatile("outl %0, %1" :: "a"(v), "Nd"(port)); }
static inline u8 inb(u16 port) { u8 v; asm volatile("inb %1, %0" : "=a"(v) : "Nd"(port)); return v; }

/* Many bytes from one port, or to one: one instruction for all of them. */
static inline void insb(u16 port, u8 *to, u64 count) {
    asm volatile("rep insb" : "+D"(to), "+c"(count) : "d"(port) : "memory");
}
static inline void outsb(u16 port, const u8 *from, u64 count) {
    asm volatile("rep outsb" : "+S"(from), "+c"(count) : "d"(port) : "memory");
}

#endif
