/* GDT, LDT, TSS, IDT, and where SYSCALL goes.
 * Source: SDM volume 3, "Segment Descriptors", "64-Bit Mode IDT", "Task Management in 64-bit Mode". */
#include "machine.h"
#include "selectors.h"
#include "x86.h"

#define CODE64 0x00af9b000000ffffUL
#define DATA 0x00cf93000000ffffUL
#define DPL3 (3UL << 45)
#define GATE_INTERRUPT 0x8e
#define GATE_USER 0xee          /* with DPL 3: INT3 and INTO are for programs */

#define FLAG_TF (1u << 8)
#define FLAG_IF (1u << 9)
#define FLAG_DF (1u << 10)
#define FLAG_NT (1u << 14)
#define FLAG_AC (1u << 18)

struct tss {
    u32 reserved0;
    u64 rsp[3], reserved1, ist[7], reserved2;
    u16 reserved3, iomap;
} __attribute__((packed));

struct gate { u16 low, selector; u8 ist, type; u16 middle; u32 high, reserved; };
struct table { u16 limit; u64 base; } __attribute__((packed));

static u64 gdt[7];
static struct tss tss;
static struct gate idt[256];
static u8 emergency_stack[4096] __attribute__((aligned(16)));

extern char trap_stubs[], spurious_stub[], syscall_entry[];

static void set_gate(int vector, const char *handler, u8 type, u8 ist) {
    u64 at = (u64)handler;
    idt[vector] = (struct gate){(u16)at, KERNEL_CS, ist, type, (u16)(at >> 16), (u32)(at >> 32), 0};
}

void segments_init(void) {
    u64 base = (u64)&tss;

    gdt[1] = CODE64;
    gdt[2] = DATA;
    gdt[3] = DATA | DPL3;
    gdt[4] = CODE64 | DPL3;
    gdt[5] = (sizeof tss - 1) | (base & 0xffffff) << 16 | 0x89UL << 40 | (base >> 24 & 0xff) << 56;
    gdt[6] = base >> 32;
    tss.iomap = sizeof tss;
    tss.ist[0] = (u64)emergency_stack + sizeof emergency_stack;

    for (int v = 0; v < 48; v++)
        set_gate(v, trap_stubs + 16 * v, v == 3 || v == 4 ? GATE_USER : GATE_INTERRUPT, v == 2 || v == 8 || v == 18);
    for (int v = 48; v < 256; v++)
        set_gate(v, spurious_stub, GATE_INTERRUPT, 0);

    struct table g = {sizeof gdt - 1, (u64)gdt}, i = {sizeof idt - 1, (u64)idt};
    asm volatile("lgdt %0" :: "m"(g));
    asm volatile("lidt %0" :: "m"(i));
    asm volatile("ltr %w0" :: "r"(TSS_SELECTOR));
    asm volatile("lldt %w0" :: "r"(0)); /* after reset the LDT is 64 KiB of memory from address 0 */
    asm volatile("push %0; lea 1f(%%rip), %%rax; push %%rax; lretq; 1: mov %1, %%ss"
                 :: "i"(KERNEL_CS), "r"(KERNEL_SS) : "rax", "memory");

    wrmsr(MSR_STAR, (u64)USER_BASE << 48 | (u64)KERNEL_CS << 32);
    wrmsr(MSR_LSTAR, (u64)syscall_entry);
    wrmsr(MSR_SFMASK, FLAG_TF | FLAG_IF | FLAG_DF | FLAG_NT | FLAG_AC);
}

void open_gate(int vector) { set_gate(vector, trap_stubs + 16 * vector, GATE_USER, 0); }

/* SYSCALL and exceptions find their stack in two places. */
void plat_set_kstack(void *top) {
    kernel_stack = (u64)top;
    tss.rsp[0] = (u64)top;
}
