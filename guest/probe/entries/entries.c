/* VM entries near the border of validity: each case flips a few bits of a VMCS that passes every check, enters, and prints what came of it.
 *
 * Command line: seed=, first=, count= choose the cases; caps=1 prints the physical-address width and the capability MSRs, and no more.  pin=, primary=, secondary=, exit=,
 * entry=, cr4=, efer= are the bits that may be flipped there, width= the physical-address width: what two processors have in common.
 * A line is a case: the fields that were changed, in which bits, and the outcome: iN for VMfailInvalid, fN for VMfailValid with error N, else exit
 * reason, qualification and event. */
#include "vmcs.h"

#define CR0_NE (1UL << 5)
#define CR4_VMXE (1UL << 13)
#define FEATURE_CONTROL 0x3a
#define LOCKED_VMX 5
#define FIRST_CAPABILITY 0x480
#define LAST_CAPABILITY 0x490
#define CHANGES_MOST 3

u64 enter(u64 resume);

static u32 vmxon_region[1024] __attribute__((aligned(4096))), region[1024] __attribute__((aligned(4096)));
static u64 host_cr0, host_cr4, random_state, launched;

static u64 random(void) {
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

static void vmx_on(void) {
    u64 on = (u64)vmxon_region, at = (u64)region;

    if (!(rdmsr(FEATURE_CONTROL) & 1))
        wrmsr(FEATURE_CONTROL, LOCKED_VMX);
    asm volatile("mov %%cr0, %0; mov %%cr4, %1" : "=r"(host_cr0), "=r"(host_cr4));
    host_cr0 |= CR0_NE;
    host_cr4 |= CR4_VMXE;
    asm volatile("mov %0, %%cr0; mov %1, %%cr4" :: "r"(host_cr0), "r"(host_cr4));
    vmxon_region[0] = region[0] = (u32)rdmsr(FIRST_CAPABILITY);
    asm volatile("vmxon %0; vmclear %1; vmptrld %1" :: "m"(on), "m"(at) : "cc", "memory");
}

static void show_capabilities(void) {
    u32 widths = 0x80000008;

    asm volatile("cpuid" : "+a"(widths) :: "ebx", "ecx", "edx");
    put_hex(widths & 0xff);
    for (u32 msr = FIRST_CAPABILITY; msr <= LAST_CAPABILITY; msr++) {
        put_char(' ');
        put_hex(rdmsr(msr));
    }
    put_char('\n');
}

/* The n-th bit that is set, counted round. */
static u64 bit_of(u64 mask, u64 n) {
    u64 count = (u64)__builtin_popcountl(mask);

    for (n %= count; n; n--)
        mask &= mask - 1;
    return mask & -mask;
}

static void change(u64 values[]) {
    const u32 at = (u32)(random() % field_count);
    const struct field *f = &fields[at];
    u64 bits;

    if (!f->mask)
        return;
    bits = bit_of(f->mask, random());
    if (random() % 4 == 0)
        bits |= bit_of(f->mask, random());
    if (random() % 16 == 0)
        bits = random() & f->mask;
    values[at] ^= bits;
    put_hex(f->encoding);
    put_char('^');
    put_hex(bits);
    put_char(' ');
}

static void outcome_of(u64 failed) {
    if (failed) {
        put_char(failed == 1 ? 'i' : 'f');
        put_number(failed == 1 ? 0 : vmread(INSTRUCTION_ERROR));
        return;
    }
    u64 reason = vmread(EXIT_REASON);
    put_hex(reason);
    put_char('.');
    put_hex(vmread(EXIT_QUALIFICATION));
    if (!reason) {
        put_char('.');
        put_hex(vmread(EXIT_EVENT));
        put_char('.');
        put_hex(vmread(EXIT_EVENT_ERROR));
    }
    launched |= !(reason >> 31);
}

static void try_case(u64 number) {
    u64 values[FIELDS_MOST];

    random_state = (number + 1) * 0x9e3779b97f4a7c15UL;
    for (u32 i = 0; i < 4; i++)
        random();
    for (u32 i = 0; i < field_count; i++)
        values[i] = fields[i].base;
    for (u64 n = 1 + random() % CHANGES_MOST; n; n--)
        change(values);
    for (u32 i = 0; i < field_count; i++)
        vmwrite(fields[i].encoding, values[i]);
    put_string("= ");
    if (option("flush", 0))             /* to see which case ends a machine */
        console_flush();
    outcome_of(enter(launched));
    put_char('\n');
    asm volatile("mov %0, %%cr0; mov %1, %%cr4" :: "r"(host_cr0), "r"(host_cr4));
}

void bare_main(void) {
    u64 first, count;

    console_init();
    machine_init();
    vmx_on();
    if (option("caps", 0)) {
        show_capabilities();
        leave(0);
    }
    base_vmcs();
    first = option("seed", 1) * 1000000000 + option("first", 0);
    count = option("count", 1000);
    for (u64 n = first; n < first + count; n++)
        try_case(n);
    leave(0);
}
