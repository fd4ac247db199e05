/* Random accesses of a virtual machine through two stages of translation, and what came of each; compared between processors.
 *
 * Command line: count=N groups of 100 cases, seed=N of the first.  A line is one group, its seed and a sum over its cases; with show=1 it is
 * one case:
 *
 *     access wp ad large leaf table pde page -> reason qualification guest-physical guest-linear error | leaf table page after
 *
 * `leaf` is the guest's last entry for WINDOW, `table`, `pde` and `page` are entries of the EPT: the last one behind the guest's table, the
 * directory entry behind the page, which may map 2 MiB by itself, and the last one behind the page; flags without addresses.  With relaxed=1
 * the qualification lacks the bits that not every processor has, 11:9, and has bit 0 wherever a guest's table is used as if written; and
 * two habits of Bochs 2.7 make no difference: it sets a guest's accessed flag even where the EPT lets nobody write, and does not look at bit 12
 * of an EPT entry for 2 MiB.
 * Source: SDM volume 3, "The Extended Page Table Mechanism (EPT)". */
#include "bare.h"
#include "vmcs.h"

#define CR0_NE (1UL << 5)
#define CR0_WP_BIT (1UL << 16)
#define CR4_VMXE (1UL << 13)
#define MSR_FEATURE_CONTROL 0x3a
#define MSR_VMX_BASIC 0x480
#define MSR_VMX_TRUE_PIN 0x48d  /* then primary, VM-exit, VM-entry */
#define MSR_EFER 0xc0000080
#define EFER_NXE (1UL << 11)
#define ENTRY_IA32E_MODE (1u << 9)
#define ACCESS_CODE64 0xa09b
#define ACCESS_DATA 0xc093
#define ACCESS_TSS 0x8b
#define EPT_R 1
#define EPT_W 2
#define EPT_ALL 7
#define EPT_WB (6 << 3)
#define EPT_LARGE (1UL << 7)
#define EPT_AD (3UL << 8)
#define EPTP_AD (1UL << 6)
#define EPTP_4_LEVELS 0x1e
#define WINDOW (5UL << 39)
#define DATA 0x400000UL                 /* physical: nothing else is in its 2 MiB */
#define FRAME 0xffffffffff000UL
#define RET 0xc3
#define INVALIDATE_ALL 2
#define EPT_VIOLATION 48        /* exit reasons */
#define EPT_MISCONFIGURATION 49
#define QUALIFICATION_FINAL (1UL << 8)
#define GROUP 100
#define COM1 0x3f8
#define LSR_TEMT 0x40
#define SHUTDOWN_PORT 0x8900

enum access { READ_BYTE, WRITE_BYTE, FETCH_BYTE };

struct pointer { u16 limit; u64 base; } __attribute__((packed));

void ept_enter(u64 address, int resume);
void ept_exit(void);
extern u8 ept_stubs[];

static u8 regions[2][4096] __attribute__((aligned(4096)));
static u64 ept[3][512] __attribute__((aligned(4096)));
static u64 ept_low[512] __attribute__((aligned(4096)));        /* behind the image, by pages of 4 KiB */
static u64 ept_data[512] __attribute__((aligned(4096)));       /* behind DATA */
static u64 pdpt[512] __attribute__((aligned(4096)));
static u64 directory[512] __attribute__((aligned(4096)));
static u64 table[512] __attribute__((aligned(4096)));
static u8 guest_stack[4096] __attribute__((aligned(4096)));
static u64 random_state, sum;
static int show, relaxed;

static u64 rdmsr(u32 msr) {
    u32 low, high;
    asm volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(msr));
    return (u64)high << 32 | low;
}

static void wrmsr(u32 msr, u64 value) { asm volatile("wrmsr" :: "c"(msr), "a"((u32)value), "d"((u32)(value >> 32))); }

static u64 least(u32 number) { return (u32)rdmsr(MSR_VMX_TRUE_PIN + number); }

#define CR(n) ({ u64 v; asm volatile("mov %%cr" #n ", %0" : "=r"(v)); v; })

static u32 draw(u32 below) {
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (u32)(random_state >> 20) % below;
}

static void invalidate(void) {
    u64 descriptor[2] = {0, 0};
    asm volatile("invept %0, %1; invvpid %0, %1" :: "m"(descriptor), "r"((u64)INVALIDATE_ALL) : "cc", "memory");
}

static void begin(void) {
    u64 at;

    for (int i = 0; i < 2; i++)
        *(u32 *)regions[i] = (u32)rdmsr(MSR_VMX_BASIC) & 0x7fffffff;
    wrmsr(MSR_FEATURE_CONTROL, 5);
    wrmsr(MSR_EFER, rdmsr(MSR_EFER) | EFER_NXE);
    asm volatile("mov %0, %%cr0" :: "r"(CR(0) | CR0_NE));
    asm volatile("mov %0, %%cr4" :: "r"(CR(4) | CR4_VMXE));
    at = (u64)regions[0];
    asm volatile("vmxon %0" :: "m"(at) : "cc", "memory");
    at = (u64)regions[1];
    asm volatile("vmclear %0; vmptrld %0" :: "m"(at) : "cc", "memory");
}

static void map(void) {
    ept[0][0] = (u64)ept[1] | EPT_ALL;
    ept[1][0] = (u64)ept[2] | EPT_ALL;
    for (u64 i = 0; i < 512; i++) {
        ept[2][i] = i << 21 | EPT_ALL | EPT_WB | EPT_LARGE;
        ept_low[i] = i << 12 | EPT_ALL | EPT_WB;
        ept_data[i] = DATA | i << 12 | EPT_ALL | EPT_WB;
    }
    ept[2][0] = (u64)ept_low | EPT_ALL;
    top_table()[WINDOW >> 39] = (u64)pdpt | ENTRY_P | ENTRY_RW | ENTRY_US | ENTRY_A;
    pdpt[0] = (u64)directory | ENTRY_P | ENTRY_RW | ENTRY_US | ENTRY_A;
    directory[0] = (u64)table | ENTRY_P | ENTRY_RW | ENTRY_US | ENTRY_A;
    *(u8 *)DATA = RET;
}

static void fill(void) {
    struct pointer gdt, idt;

    asm volatile("sgdt %0; sidt %1" : "=m"(gdt), "=m"(idt));
    vmwrite(PIN_CONTROLS, least(0));
    vmwrite(PRIMARY_CONTROLS, least(1) | PRIMARY_SECONDARY_CONTROLS);
    vmwrite(SECONDARY_CONTROLS, SECONDARY_EPT | SECONDARY_VPID);
    vmwrite(EXIT_CONTROLS, least(2) | EXIT_HOST_ADDRESS_SPACE_SIZE | EXIT_SAVE_EFER | EXIT_LOAD_EFER);
    vmwrite(ENTRY_CONTROLS, least(3) | ENTRY_IA32E_MODE | ENTRY_LOAD_EFER);
    vmwrite(EXCEPTION_BITMAP, 1 << VECTOR_PF);
    vmwrite(VPID, 1);
    vmwrite(VMCS_LINK_POINTER, ~0UL);
    for (enum segment s = ES; s <= TR; s++) {
        vmwrite(of_segment(GUEST_SELECTOR, s), s == CS ? 8 : s == TR ? 0x28 : s == LDTR ? 0 : 16);
        vmwrite(of_segment(GUEST_LIMIT, s), s < LDTR ? 0xffffffff : 0x67);
        vmwrite(of_segment(GUEST_ACCESS, s), s == CS ? ACCESS_CODE64 : s == LDTR ? ACCESS_UNUSABLE : s == TR ? ACCESS_TSS : ACCESS_DATA);
        if (s < LDTR)
            vmwrite(of_segment(HOST_SELECTOR, s), s == CS ? 8 : 16);
    }
    vmwrite(of_segment(HOST_SELECTOR, TR - 1), 0x28);
    vmwrite(HOST_CR0, CR(0));
    vmwrite(GUEST_CR3, CR(3)), vmwrite(HOST_CR3, CR(3));
    vmwrite(GUEST_CR4, CR(4)), vmwrite(HOST_CR4, CR(4));
    vmwrite(GUEST_EFER, rdmsr(MSR_EFER)), vmwrite(HOST_EFER, rdmsr(MSR_EFER));
    vmwrite(GUEST_GDTR_BASE, gdt.base), vmwrite(HOST_GDTR_BASE, gdt.base);
    vmwrite(GUEST_IDTR_BASE, idt.base), vmwrite(HOST_IDTR_BASE, idt.base);
    vmwrite(GUEST_GDTR_LIMIT, gdt.limit), vmwrite(GUEST_IDTR_LIMIT, idt.limit);
    vmwrite(HOST_RIP, (u64)ept_exit);
}

/* Flags of a last entry of the EPT: usually right. */
static u64 ept_flags(void) {
    u64 rights = draw(2) ? EPT_ALL : draw(8);
    u64 type = draw(12) ? 6 : draw(8);
    return rights | type << 3 | (draw(4) ? 0 : (u64)draw(4) << 8);
}

static void field(u64 value) {
    sum = (sum ^ value) * 0x100000001b3;
    if (show) {
        put_char(' ');
        put_hex(value);
    }
}

static u64 qualification(u64 reason, int ad) {
    u64 value = vmread(EXIT_QUALIFICATION);

    if (reason == EPT_MISCONFIGURATION)
        return 0;
    if (reason != EPT_VIOLATION || !relaxed)
        return value;
    return (value & ~0xe00UL) | (ad && !(value & QUALIFICATION_FINAL) ? 1 : 0);
}

static void one_case(int resume) {
    enum access access = draw(3);
    int wp = draw(2), ad = draw(2), large = !draw(4);
    u64 offset = draw(512) * 8;
    u32 first_reserved = relaxed ? 13 : 12;
    u64 leaf = (draw(16) ? ENTRY_P : 0) | (draw(3) ? ENTRY_RW : 0) | (draw(2) ? ENTRY_US : 0) | (draw(4) ? 0 : ENTRY_XD) |
               (draw(2) ? ENTRY_A : 0) | (draw(2) ? ENTRY_D : 0);
    u64 of_table = draw(3) ? EPT_ALL | EPT_WB : ept_flags();
    u64 of_page = ept_flags();
    u64 pde = large ? of_page | EPT_LARGE | (draw(8) ? 0 : 1UL << (first_reserved + draw(21 - first_reserved)))
                    : (draw(4) ? EPT_ALL : draw(8)) | (draw(12) ? 0 : 1UL << (3 + draw(4)));
    u64 *at_table = &ept_low[(u64)table >> 12], *at_page = &ept_data[0], *at_pde = &ept[2][DATA >> 21];

    if (relaxed && !ad && (of_table & EPT_R))
        of_table |= EPT_W;
    table[0] = DATA | leaf;
    *at_table = (u64)table | of_table;
    *at_page = DATA | of_page;
    *at_pde = (large ? DATA : (u64)ept_data) | pde;
    vmwrite(EPT_POINTER, (u64)ept[0] | EPTP_4_LEVELS | (ad ? EPTP_AD : 0));
    vmwrite(GUEST_CR0, wp ? CR(0) | CR0_WP_BIT : CR(0) & ~CR0_WP_BIT);
    vmwrite(GUEST_RFLAGS, 2);
    vmwrite(GUEST_RSP, (u64)(guest_stack + sizeof guest_stack));
    vmwrite(GUEST_RIP, (u64)ept_stubs + 16 * access);
    *(u8 *)(DATA + offset) = RET;
    invalidate();
    ept_enter(WINDOW + offset, resume);

    if (show) {
        put_char("rwx"[access]);
        put_char(wp ? 'p' : '-');
        put_char(ad ? 'd' : '-');
        put_char(large ? 'l' : '-');
    }
    field(leaf);
    field(of_table);
    field(pde);
    field(of_page);
    if (show)
        put_string(" ->");
    u64 reason = vmread(EXIT_REASON);
    field(reason);
    field(qualification(reason, ad));
    field(reason == EPT_VIOLATION || reason == EPT_MISCONFIGURATION ? vmread(GUEST_PHYSICAL_ADDRESS) : 0);
    field(reason == EPT_VIOLATION ? vmread(GUEST_LINEAR_ADDRESS) : 0);
    field(reason == 0 ? vmread(EXIT_ERROR_CODE) : 0);
    if (show)
        put_string(" |");
    field(table[0] & ~FRAME);
    field(*at_table & ~FRAME);
    field((large ? *at_pde : *at_page) & ~FRAME);
    if (show)
        put_string("\n");
    *at_table = (u64)table | EPT_ALL | EPT_WB;
}

/* Port 0xf4 ends our machine, and the word Bochs. */
__attribute__((noreturn)) static void finish(void) {
    u8 status;

    console_flush();
    do
        asm volatile("inb %1, %0" : "=a"(status) : "d"((u16)(COM1 + 5)));
    while (!(status & LSR_TEMT));
    asm volatile("outl %0, %w1" :: "a"(0), "Nd"(0xf4));
    for (const char *s = "Shutdown"; *s; s++)
        asm volatile("outb %0, %w1" :: "a"(*s), "d"(SHUTDOWN_PORT));
    for (;;)
        asm volatile("hlt");
}

void bare_main(void) {
    console_init();
    machine_init();
    show = option("show", 0) != 0;
    relaxed = option("relaxed", 0) != 0;
    begin();
    map();
    fill();
    u64 seed = option("seed", 1), end = seed + option("count", 10);
    for (int launched = 0; seed < end; seed++) {
        random_state = seed * 0x9e3779b97f4a7c15 | 1;
        sum = 0;
        for (int i = 0; i < GROUP; i++, launched = 1)
            one_case(launched);
        if (!show) {
            put_number(seed);
            put_char(' ');
            put_hex(sum);
            put_char('\n');
        }
    }
    finish();
}
