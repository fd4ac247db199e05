/* Descriptor tables, the controls under test, and one access.
 * Source: SDM volume 3, "64-Bit Mode IDT", "Segment Descriptor Tables in IA-32e Mode", "Control Registers". */
#include "bare.h"
#include "selectors.h"

#define LDT_SELECTOR 0x38
#define LDT_FIRST 0x07          /* selectors of the LDT's two descriptors, RPL 3 */
#define LDT_SECOND 0x0f

#define CODE64 0x00af9b000000ffffUL
#define DATA 0x00cf93000000ffffUL
#define DPL3 (3UL << 45)
#define PRESENT (1UL << 47)
#define TYPE_LDT (2UL << 40)
#define TYPE_TSS (9UL << 40)
#define GATE_INTERRUPT 0x8e
#define GATE_USER 0xee

#define CR0_WP (1UL << 16)
#define CR4_SMEP (1UL << 20)
#define CR4_SMAP (1UL << 21)
#define CR4_PKE (1UL << 22)
#define CR4_PKS (1UL << 24)
#define EFER 0xc0000080
#define EFER_NXE (1UL << 11)
#define MSR_PKRS 0x6e1

#define USER_WINDOW (1UL << 39)

struct tss {
    u32 reserved0;
    u64 rsp[3], reserved1, ist[7], reserved2;
    u16 reserved3, iomap;
} __attribute__((packed));
struct gate { u16 low, selector; u8 ist, type; u16 middle; u32 high, reserved; };
struct pointer { u16 limit; u64 base; } __attribute__((packed));
struct frame { u64 rip, cs, rflags, rsp, ss; };

struct outcome outcome;
static u64 gdt[9] = {0, CODE64, DATA, DATA | DPL3, CODE64 | DPL3};
static struct gate idt[VECTOR_DONE + 1];
static struct tss tss;
static u32 control_now, pkru_now, pkrs_now;

extern char vectors[], access_stack_top[];
extern char stub_read[], stub_write[], stub_execute[], stub_load_fs[];
void attempt_frame(const struct frame *frame, u64 address, u64 value);

static u64 rdmsr(u32 msr) {
    u32 low, high;
    asm volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(msr));
    return (u64)high << 32 | low;
}

static void wrmsr(u32 msr, u64 value) {
    asm volatile("wrmsr" :: "c"(msr), "a"((u32)value), "d"((u32)(value >> 32)) : "memory");
}

static void set_system_descriptor(int at, u64 base, u64 limit, u64 type) {
    gdt[at] = limit | (base & 0xffffff) << 16 | PRESENT | type | (base >> 24 & 0xff) << 56;
    gdt[at + 1] = base >> 32;
}

static u32 features(void) {
    u32 a = 7, b, c = 0, d, found = CONTROL_WP | CONTROL_NXE;
    asm volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
    if (b >> 7 & 1)
        found |= CONTROL_SMEP;
    if (b >> 20 & 1)
        found |= CONTROL_SMAP;
    if (c >> 3 & 1)
        found |= CONTROL_PKE;
    if (c >> 31 & 1)
        found |= CONTROL_PKS;
    return found;
}

u32 machine_init(void) {
    tss.rsp[0] = (u64)access_stack_top;
    tss.iomap = sizeof tss;
    set_system_descriptor(TSS_SELECTOR / 8, (u64)&tss, sizeof tss - 1, TYPE_TSS);
    for (int v = 0; v <= VECTOR_DONE; v++) {
        u64 at = (u64)vectors + 16 * (u64)v;
        u8 type = v == VECTOR_DONE ? GATE_USER : GATE_INTERRUPT;
        idt[v] = (struct gate){(u16)at, KERNEL_CS, 0, type, (u16)(at >> 16), (u32)(at >> 32), 0};
    }
    struct pointer g = {sizeof gdt - 1, (u64)gdt}, i = {sizeof idt - 1, (u64)idt};
    asm volatile("lgdt %0; lidt %1; ltr %w2; lldt %w3" :: "m"(g), "m"(i), "r"(TSS_SELECTOR), "r"(0));
    asm volatile("mov %0, %%ss" :: "r"(KERNEL_SS));
    return features();
}

u64 *top_table(void) {
    u64 cr3;
    asm volatile("mov %%cr3, %0" : "=r"(cr3));
    return (u64 *)cr3;
}

/* No page is global (CR4.PGE is 0), so this leaves nothing of the old tables. */
void flush(void) {
    asm volatile("mov %0, %%cr3" :: "r"(top_table()) : "memory");
}

void set_control(u32 control) {
    u32 change = control ^ control_now;
    u64 cr0, cr4;

    control_now = control;
    if (change & CONTROL_WP) {
        asm volatile("mov %%cr0, %0" : "=r"(cr0));
        asm volatile("mov %0, %%cr0" :: "r"(cr0 ^ CR0_WP));
    }
    if (change & CONTROL_NXE)
        wrmsr(EFER, rdmsr(EFER) ^ EFER_NXE);
    if (change & ~(CONTROL_WP | CONTROL_NXE)) {
        asm volatile("mov %%cr4, %0" : "=r"(cr4));
        cr4 &= ~(CR4_SMEP | CR4_SMAP | CR4_PKE | CR4_PKS);
        cr4 |= control & CONTROL_SMEP ? CR4_SMEP : 0;
        cr4 |= control & CONTROL_SMAP ? CR4_SMAP : 0;
        cr4 |= control & CONTROL_PKE ? CR4_PKE : 0;
        cr4 |= control & CONTROL_PKS ? CR4_PKS : 0;
        asm volatile("mov %0, %%cr4" :: "r"(cr4));
    }
}

void set_pkru(u32 pkru) {       /* only with CONTROL_PKE */
    if (pkru != pkru_now)
        asm volatile("wrpkru" :: "a"(pkru), "c"(0), "d"(0) : "memory");
    pkru_now = pkru;
}

void set_pkrs(u32 pkrs) {       /* only on a processor that has CONTROL_PKS; key 0 is the image's own */
    if (pkrs != pkrs_now)
        wrmsr(MSR_PKRS, pkrs);
    pkrs_now = pkrs;
}

static u64 stub(enum kind kind, int user) {
    const char *at = kind == READ ? stub_read : kind == WRITE ? stub_write : kind == EXECUTE ? stub_execute : stub_load_fs;
    return (u64)at + (user ? USER_WINDOW : 0);
}

/* An implicit access: the processor's own, to a descriptor at `address`.  It reads the first of two; in the second the
 * accessed bit is clear, so it reads and writes that. */
void attempt(enum kind kind, int user, int ac, u64 address, u32 value) {
    struct frame frame = {
        stub(kind, user), user ? USER_CS : KERNEL_CS, 2 | (ac ? RFLAGS_AC : 0),
        (u64)access_stack_top, user ? USER_SS : KERNEL_SS,
    };

    if (kind == IMPLICIT_READ || kind == IMPLICIT_WRITE) {
        set_system_descriptor(LDT_SELECTOR / 8, kind == IMPLICIT_WRITE ? address - 8 : address, 15, TYPE_LDT);
        asm volatile("lldt %w0" :: "r"(LDT_SELECTOR) : "memory");
        value = kind == IMPLICIT_WRITE ? LDT_SECOND : LDT_FIRST;
    }
    attempt_frame(&frame, address, value);
    if (kind == IMPLICIT_READ || kind == IMPLICIT_WRITE)
        asm volatile("mov %0, %%fs" :: "r"(0));
}

u64 fault_address(void) {
    u64 cr2;
    asm volatile("mov %%cr2, %0" : "=r"(cr2));
    return cr2;
}

/* A fault is at the instruction itself, and INT returns behind it. */
int rip_is_right(enum kind kind, int user, u64 address) {
    u64 at = stub(kind, user);

    if (kind == EXECUTE)
        return outcome.rip == (outcome.vector == VECTOR_DONE ? address + 2 : address);
    return outcome.rip == (outcome.vector == VECTOR_DONE ? at + 4 : at);
}

__attribute__((noreturn)) void leave(u32 status) {
    console_drain();
    asm volatile("outl %0, %w1" :: "a"(status), "Nd"(0xf4));
    for (const char *s = "Shutdown"; *s; s++)           /* Bochs's way */
        asm volatile("outb %0, %w1" :: "a"(*s), "Nd"(0x8900));
    for (;;)
        asm volatile("hlt");
}
