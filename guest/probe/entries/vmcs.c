/* The VMCS of every case before it is changed. */
#include "vmcs.h"
#include "selectors.h"

#define TRUE_PIN 0x48d                  /* capability MSRs: then those of primary, exit and entry controls */
#define EFER 0xc0000080
#define PAT 0x277
#define LARGE_PAGE (1UL << 21)
#define EPT_RWX 7
#define EPT_LARGE 0xb7                  /* RWX, write-back, large */
#define EPTP_WALK 0x1e                  /* four levels, write-back */
#define ONES (~0UL)
#define HIGH (ONES << 47)               /* a flip of one of these makes an address not canonical */

struct gate { u16 low, selector; u8 ist, type; u16 middle; u32 high, reserved; };
struct pointer { u16 limit; u64 base; } __attribute__((packed));

struct field fields[FIELDS_MOST];
u32 field_count;

extern char back[], guest_code[];
static struct gate guest_idt[256] __attribute__((aligned(4096)));
static u64 ept_top[512] __attribute__((aligned(4096))), ept_1g[512] __attribute__((aligned(4096)));
static u64 ept_2m[512] __attribute__((aligned(4096)));
static u8 zeros[2 * 4096] __attribute__((aligned(4096))), shadow[4096] __attribute__((aligned(4096)));
static u64 msr_list[4] __attribute__((aligned(4096)));
static u8 guest_stack[4096] __attribute__((aligned(4096)));

static void add(u32 encoding, u64 base, u64 mask) {
    fields[field_count++] = (struct field){encoding, base, mask};
}

static void tables(void) {
    u64 at = (u64)guest_code;

    for (u32 v = 0; v < COUNT(guest_idt); v++)
        guest_idt[v] = (struct gate){(u16)at, KERNEL_CS, 0, 0x8e, (u16)(at >> 16), (u32)(at >> 32), 0};
    ept_top[0] = (u64)ept_1g | EPT_RWX;
    ept_1g[0] = (u64)ept_2m | EPT_RWX;
    for (u64 i = 0; i < 512; i++)
        ept_2m[i] = i * LARGE_PAGE | EPT_LARGE;
    *(u32 *)shadow = (u32)rdmsr(0x480) | 1u << 31;
    msr_list[0] = 0xc0000082;           /* IA32_LSTAR */
}

static void controls(u64 beyond) {
    u64 page = (u64)zeros, wide = beyond | 0xfff;

    add(PIN_CONTROLS, (u32)rdmsr(TRUE_PIN), option("pin", 0));
    add(PRIMARY_CONTROLS, (u32)rdmsr(TRUE_PIN + 1) | SECONDARY_ON, option("primary", 0));
    add(SECONDARY_CONTROLS, 0, option("secondary", 0));
    add(EXIT_CONTROLS, (u32)rdmsr(TRUE_PIN + 2) | HOST_64, option("exit", 0));
    add(ENTRY_CONTROLS, (u32)rdmsr(TRUE_PIN + 3) | GUEST_64, option("entry", 0));
    add(0x4004, 0xffffffff, 0);         /* every exception exits */
    add(0x2000, page, wide);            /* bitmaps of ports and MSRs */
    add(0x2002, page, wide);
    add(0x2004, page, wide);
    add(0x2012, page, wide);            /* the virtual-APIC page */
    add(0x401c, 0, 0xff);               /* TPR threshold */
    add(0x201a, (u64)ept_top | EPTP_WALK, beyond | 0xfff);
    add(0x2026, page, wide);            /* VMREAD and VMWRITE bitmaps */
    add(0x2028, page, wide);
    add(0x0000, 1, 0xffff);             /* VPID */
    add(0x400a, 0, 0x7);                /* CR3 targets */
    add(0x2006, (u64)msr_list, beyond | 0xf);
    add(0x2008, (u64)msr_list, beyond | 0xf);
    add(0x200a, (u64)msr_list, beyond | 0xf);
    add(0x400e, 0, 1);                  /* how many MSRs are stored, loaded by exits, loaded by entries */
    add(0x4010, 0, 1);
    add(0x4014, 0, 1);
    add(0x4016, 0, 0xffffffff);         /* the event to inject */
    add(0x4018, 0, 0xffffffff);
    add(0x401a, 0, 0x1f);
}

static void host(u64 beyond) {
    u64 cr0, cr3, cr4;
    struct pointer gdt, idt;

    asm volatile("mov %%cr0, %0; mov %%cr3, %1; mov %%cr4, %2" : "=r"(cr0), "=r"(cr3), "=r"(cr4));
    asm volatile("sgdt %0; sidt %1" : "=m"(gdt), "=m"(idt));
    static const u16 selectors[] = {0, KERNEL_CS, KERNEL_SS, 0, 0, 0, TSS_SELECTOR};
    for (u32 i = 0; i < COUNT(selectors); i++)
        add(0x0c00 + 2 * i, selectors[i], selectors[i] ? 0x7 | selectors[i] : 0x7);
    add(0x6c00, cr0, ONES << 32 | 0x50021 | 1UL << 31);
    add(0x6c02, cr3, beyond);
    add(0x6c04, cr4, ONES << 32 | 0x2020 | option("cr4", 0));
    for (u32 field = 0x6c06; field <= 0x6c0a; field += 2)
        add(field, 0, HIGH);            /* FS, GS, TR */
    add(0x6c0c, gdt.base, HIGH);
    add(0x6c0e, idt.base, HIGH);
    add(0x6c10, 0, HIGH);
    add(0x6c12, 0, HIGH);
    add(0x6c16, (u64)back, HIGH);
    add(0x2c00, rdmsr(PAT), ONES);
    add(0x2c02, rdmsr(EFER), ONES << 12 | 0x5fe | option("efer", 0));
}

static void guest(u64 beyond) {
    static const u32 access[] = {0x10000, 0xa09b, 0xc093, 0xc093, 0x10000, 0x10000, 0x82, 0x8b};
    static const u16 selectors[] = {0, KERNEL_CS, KERNEL_SS, KERNEL_SS, 0, 0, 0, TSS_SELECTOR};
    u64 cr0 = 0, gdt = 0;

    for (u32 i = 0; i < field_count; i++) {
        cr0 = fields[i].encoding == 0x6c00 ? fields[i].base : cr0;
        gdt = fields[i].encoding == 0x6c0c ? fields[i].base : gdt;
    }
    for (u32 i = 0; i < COUNT(access); i++) {
        add(0x0800 + 2 * i, selectors[i], 0x7);
        add(0x4800 + 2 * i, i == 6 || i == 7 ? 0xfff : 0xffffffff, 0xfffff000 | (i == 7 ? 0xfff : 0));
        add(0x4814 + 2 * i, access[i], 0x1ffff | 1u << 20);
        add(0x6806 + 2 * i, 0, HIGH | ONES << 32);
    }
    add(0x6816, gdt, HIGH);
    add(0x6818, (u64)guest_idt, HIGH);
    add(0x4810, 0xfff, 0xffff0000);
    add(0x4812, sizeof guest_idt - 1, 0xffff0000);
    add(0x6800, cr0, ONES << 32 | 0x60050029 | 1UL << 31);
    add(0x6802, (u64)top_table(), beyond);
    add(0x6804, 0x2020, ONES << 32 | 0x2020 | option("cr4", 0));
    add(0x681a, 0x400, ONES);
    add(0x681c, (u64)guest_stack + sizeof guest_stack, 0);
    add(0x681e, (u64)guest_code, HIGH);
    add(0x6820, 2, ONES);
    add(0x6822, 0, ONES & ~(1UL << 16));        /* pending debug exceptions, but for RTM's bit */
    add(0x6824, 0, HIGH);
    add(0x6826, 0, HIGH);
    add(0x482a, 0, 0xffffffff);
    add(0x4824, 0, 0x2f);
    add(0x4826, 0, 0xc);                /* the activity state: none that a processor has, for a guest that halts waits */
    add(0x2800, ONES, option("link", 0));
    add(0x2802, 0, 0x3c);               /* IA32_DEBUGCTL, reserved bits */
    add(0x2804, rdmsr(PAT), ONES);
    add(0x2806, rdmsr(EFER), ONES << 12 | 0x5fe | option("efer", 0));
}

void base_vmcs(void) {
    u64 beyond = ONES << option("width", 52);

    tables();
    controls(beyond);
    host(beyond);
    guest(beyond);
}
