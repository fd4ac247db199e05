/* CPUID: the processor's answer, without what this host does not offer.
 * Source: SDM volume 2, CPUID. */
#include "control.h"
#include "pager.h"
#include "platform/time.h"
#include "runv.h"
#include "x86.h"

#define LEAF_FREQUENCY 0x15
#define CRYSTAL 1000            /* Hz, where the processor does not tell how fast its counter is */

/* Leaf 1. */
#define C_SSE3_PCLMUL 0x3u
#define C_INSTRUCTIONS (1u << 9 | 1u << 13 | 1u << 19 | 1u << 20 | 1u << 22 | 1u << 23 | 1u << 25 | 1u << 30)
                                /* SSSE3 CMPXCHG16B SSE4.1 SSE4.2 MOVBE POPCNT AES RDRAND */
#define C_PCID (1u << 17)
#define C_X2APIC (1u << 21)
#define C_TSC_DEADLINE (1u << 24)
#define C_XSAVE (1u << 26)
#define C_OSXSAVE (1u << 27)
#define D_MCE (1u << 7)
#define D_MTRR (1u << 12)
#define D_MCA (1u << 14)
#define D_OTHERS (1u << 18 | 1u << 21 | 1u << 22 | 1u << 28 | 1u << 29 | 1u << 31)   /* serial number, DS, ACPI, HTT, TM, PBE */

/* Leaf 7. */
#define B_OFFERED (1u << 0 | 1u << 3 | 1u << 7 | 1u << 8 | 1u << 9 | 1u << 10 | 1u << 18 | 1u << 19 | 1u << 20 | 1u << 23 | 1u << 24 | 1u << 29)
                                /* FSGSBASE BMI1 SMEP BMI2 ERMS INVPCID RDSEED ADX SMAP CLFLUSHOPT CLWB SHA */
#define B_INVPCID (1u << 10)
#define C_UMIP (1u << 2)
#define C_PKU (1u << 3)
#define C_OSPKE (1u << 4)
#define XSAVE_OPTIMIZED 0x7u    /* leaf DH, 1: XSAVEOPT, XSAVEC, XGETBV 1; not XSAVES */

static u32 if_set(u64 cr4, u64 bit, u32 feature) { return cr4 & bit ? feature : 0; }

static void features(struct cpuid *r, u64 cr4) {
    r->b &= 0x00ffffff;         /* APIC ID 0 */
    r->c = (r->c & (C_SSE3_PCLMUL | C_INSTRUCTIONS | C_PCID | C_XSAVE)) | C_X2APIC | C_TSC_DEADLINE;
    r->c |= if_set(cr4, CR4_OSXSAVE, C_OSXSAVE);
    if (shadow_paging)
        r->c &= ~C_PCID;        /* shadow tables have one tag for all */
    r->d &= ~(D_MCE | D_MTRR | D_MCA | D_OTHERS);
}

static void more_features(struct cpuid *r, u32 subleaf, u64 cr4) {
    if (subleaf) {
        *r = (struct cpuid){0};
        return;
    }
    r->a = 0;
    r->b &= B_OFFERED & ~(shadow_paging ? B_INVPCID : 0);
    r->c = (r->c & (C_UMIP | C_PKU)) | if_set(cr4, CR4_PKE, C_OSPKE);
    r->d = 0;
}

static void xsave(struct cpuid *r, u32 subleaf) {
    u64 mask = xcr0_offered();

    if (subleaf == 0)
        r->a &= (u32)mask, r->d = 0;
    else if (subleaf == 1)
        *r = (struct cpuid){.a = r->a & XSAVE_OPTIMIZED, .b = r->b};
    else if (subleaf > 63 || !(mask >> subleaf & 1))
        *r = (struct cpuid){0};
}

void cpuid_exit(struct vcpu *v) {
    u32 leaf = (u32)v->registers[RAX], subleaf = (u32)v->registers[RCX];
    struct cpuid r = cpuid(leaf, subleaf);
    u64 cr4 = vmread(GUEST_CR4);

    switch (leaf) {
    case 0: r.a = MAX(r.a, (u32)LEAF_FREQUENCY); break;
    case 1: features(&r, cr4); break;
    case 7: more_features(&r, subleaf, cr4); break;
    case 0xd: xsave(&r, subleaf); break;
    case LEAF_FREQUENCY:
        if (cpuid(0, 0).a < LEAF_FREQUENCY || !r.a || !r.b || !r.c)
            r = (struct cpuid){1, (u32)(plat_cycles_per_second() / CRYSTAL), CRYSTAL, 0};
        break;
    case PAGER_CPUID:
        r = (struct cpuid){PAGER_CPUID, PAGER_EBX, PAGER_ECX, PAGER_EDX};
        break;
    case 5: case 6: case 0xa: case 0xf: case 0x10: case 0x12: case 0x14:        /* MONITOR, power, counters, monitoring, SGX, PT */
        r = (struct cpuid){0};
        break;
    }
    v->registers[RAX] = r.a;
    v->registers[RBX] = r.b;
    v->registers[RCX] = r.c;
    v->registers[RDX] = r.d;
    finish_instruction(v);
}
