/* A kernel in a virtual machine that attacks the RunV host, and through it the container beside it.  It boots as `native`
 * does, by multiboot, at an address of its own (hostile.ld), and has no IDT: an exception is its end.
 * Which attack: attack=NAME on the command line. */
#include "kernel.h"
#include "multiboot.h"
#include "pager.h"
#include "pte.h"
#include "script_kernel.h"
#include "x86.h"

#define SECRETS 0x5ec2e7c0ffeeUL        /* how every secret here begins */
#define COM1 0x3f8
#define DEBUG_EXIT 0xf4
#define SHUTDOWN 0x8900                 /* ends the machine, if one gets there */
#define APIC_ENABLE (1UL << 11)
#define APIC_EXTD (1UL << 10)
#define LARGE (2UL << 20)
#define LOW_MEMORY 0x100000UL
#define HOST_MEMORY (64UL << 20)
#define TOP_PAGE 0xfffff000UL           /* the last that 32-bit code sees */
#define REAL_MODE 0x7000
#define ELSEWHERE 0x700000000000UL
#define CODE32 0x00cf9b000000ffffUL

extern char kernel_text[], kernel_end[];
extern pte_t boot_pml4[];

static const struct multiboot *info;

static void say(const char *s) { outsb(COM1, (const u8 *)s, strlen(s)); }

static __attribute__((noreturn)) void end(int status) {
    outl(DEBUG_EXIT, (u32)status);
    for (;;)
        ;
}

static __attribute__((noreturn)) void refused(const char *why) {
    say("refused: ");
    say(why);
    say("\n");
    end(1);
}

static void look(const volatile u64 *word) {
    static char text[18];
    u64 value = *word;

    if (value >> 16 != SECRETS)
        return;
    for (int i = 0; i < 16; i++)
        text[i] = "0123456789abcdef"[value >> (60 - 4 * i) & 15];
    text[16] = '\n';
    say("read ");
    say(text);
    end(0);
}

static u64 memory_end(void) { return HIGH_MEMORY + (u64)info->mem_upper * 1024; }

/* A secret stands where a line of 64 bytes begins. */
static void read_all(u64 from, u64 to) {
    for (u64 gpa = from; gpa < to; gpa += 64)
        look(direct(gpa));
}

/* ---- what is not its own ---- */

static void port(void) {
    for (const char *s = "Shutdown"; *s; s++)
        outb(SHUTDOWN, (u8)*s);
}

/* Without its local APIC, the host has no timer. */
static void msr(void) { wrmsr(MSR_APIC_BASE, rdmsr(MSR_APIC_BASE) & ~(APIC_ENABLE | APIC_EXTD)); }

/* Behind the end of its memory.  Without that end, all of the machine's stands there. */
static void pages(void) { read_all(memory_end(), memory_end() + HOST_MEMORY); }

/* Map a page, and give its entry. */
static pte_t *map(u64 va, u64 gpa) {
    static pte_t tables[TABLE_LEVELS - 1][TABLE_ENTRIES] __attribute__((aligned(4096)));
    pte_t *table = direct((u64)boot_pml4);

    for (int level = TABLE_LEVELS; level > 1; level--) {        /* a table of each level, for the last page that was asked for */
        pte_t *entry = &table[level_index(va, level)];
        if (!(*entry & PTE_P))
            *entry = ((u64)tables[level - 2] - KERNEL_BASE) | PTE_TABLE;
        table = direct(*entry & PTE_ADDRESS);
    }
    table[level_index(va, 1)] = ROUND_DOWN(gpa, PAGE_SIZE) | PTE_P;
    return &table[level_index(va, 1)];
}

pte_t *script_map(u64 va, u64 gpa) { return map(va & 0xffffffffffffUL, gpa & PTE_ADDRESS); }

/* A store to a page table that is shadowed: what the entry mapped is there no more once the TLB has been flushed. */
static void store(void) {
    static u64 page[TABLE_ENTRIES] __attribute__((aligned(4096))) = {SECRETS << 16};
    pte_t *entry = map(ELSEWHERE, (u64)page - KERNEL_BASE);

    if (*(volatile u64 *)ELSEWHERE != page[0])
        refused("its own page");
    *(volatile pte_t *)entry = 0;
    write_cr3(read_cr3());
    look((u64 *)ELSEWHERE);
}

/* One page of 2 MiB that were mapped at once, given back and read. */
static void large(void) {
    u64 *list = direct(2 * LARGE), *word = (u64 *)direct(4 * LARGE + 5 * PAGE_SIZE) + 1;    /* the first word of a free page is the host's */
    u64 result = PAGER_HYPERCALL;

    *word = SECRETS << 16 | 3;
    list[0] = physical(word) & ~PAGE_MASK;
    asm volatile("vmcall" : "+a"(result) : "b"(physical(list)), "c"(1UL << 32) : "memory");
    look(word);
}

/* ---- what the host makes of its registers ---- */

static void xsetbv(void) {
    asm volatile("xsetbv" :: "c"(0), "a"(0), "d"(0));   /* x87 state cannot be switched off */
}

/* Go on in 32-bit code, in a page that is mapped for that. */
static void run_32_bit_code(u64 va, u64 gpa) {
    static u64 gdt[2] = {0, CODE32};
    const struct { u16 limit; u64 base; } __attribute__((packed)) gdtr = {sizeof gdt - 1, (u64)gdt};

    map(va, gpa);
    asm volatile("lgdt %0; push $8; push %1; lretq" :: "m"(gdtr), "r"(va), "a"(0) : "memory");
}

/* CPUID is emulated.  The next instruction of 32-bit code is at address 0 again, not at 4 GiB. */
static void rip(void) {
    static u8 page[PAGE_SIZE] __attribute__((aligned(4096))) = {[PAGE_SIZE - 2] = 0x0f, 0xa2};

    memcpy(direct(0), "\x0f\x0b", 2); /* ud2 */
    run_32_bit_code(TOP_PAGE + PAGE_SIZE - 2, (u64)page - KERNEL_BASE);
}

/* RDPMC in real mode, where the #GP for it has no error code. */
static void real_mode(void) {
    static const u8 code[] = {0xbc, 0, 0x70, 0, 0, 0x0f, 0x20, 0xc0, 0x25, 0xfe, 0xff, 0xff, 0x7f,      /* mov $0x7000, %esp; mov %cr0, %eax; and $~(PG | PE), %eax */
                              0x0f, 0x22, 0xc0, 0x0f, 0x33};                                            /* mov %eax, %cr0; rdpmc */

    memcpy(direct(REAL_MODE), code, sizeof code);
    *(u8 *)direct(REAL_MODE + sizeof code) = 0xf4;      /* hlt, for ever */
    *(u32 *)direct(4 * 13) = REAL_MODE + sizeof code;
    run_32_bit_code(REAL_MODE, REAL_MODE);
}

/* ---- time, and what another one has left ---- */

static void endless(void) {
    for (;;)
        ;
}

static void leftovers(void) { read_all(ROUND_UP((u64)kernel_end - KERNEL_BASE, PAGE_SIZE), memory_end()); }

/* Below its own image: where another one was, by translations that the processor may have kept. */
static void stale(void) { read_all(LOW_MEMORY, (u64)kernel_text - KERNEL_BASE); }

static const struct { const char *name; void (*run)(void); } attacks[] = {
    {"port", port}, {"msr", msr}, {"pages", pages}, {"xsetbv", xsetbv}, {"rip", rip}, {"endless", endless},
    {"leftovers", leftovers}, {"stale", stale}, {"realmode", real_mode}, {"shadow-store", store}, {"large", large},
    {"script", script_begin},
};

static const char *option_text(const char *name) {
    const char *line = direct(info->cmdline);

    for (const char *at = line; *at; at++) {
        u64 n = strlen(name);
        if (strnlen(at, n) == n && memcmp(at, name, n) == 0 && (at == line || at[-1] == ' '))
            return at + n;
    }
    return "";
}

static bool is(const char *word, const char *name) {
    u64 n = strlen(name);

    return strnlen(word, n) == n && memcmp(word, name, n) == 0 && (!word[n] || word[n] == ' ');
}

void boot_main(struct multiboot *at) {
    info = direct((u64)at);
    write_cr4(read_cr4() | CR4_OSXSAVE);
    for (u64 i = 0; i < COUNT(attacks); i++)
        if (is(option_text("attack="), attacks[i].name))
            attacks[i].run();
    refused("nothing came of it");
}
