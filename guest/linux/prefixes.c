/* What a prefix does to an instruction that traps somewhere: no prefix, each one, pairs of some, and the same at the end of a
 * page behind which nothing can be fetched.
 *
 * A row is the first prefix, a cell the second.  A cell says
 *
 *   .  it ran, and RIP is behind it    t  it went to its target    l d  to the target's lowest 16 or 32 bits
 *   b o i  #BP, #OF, #DB behind it     u  #UD                      g  #GP(0)
 *   e  it ran to the page's end        f  #PF for the fetch of the rest
 *   !  it ran wrongly                  -  not tried: processors differ
 *
 * and by how many bytes, in hexadecimal, RSP has moved.  Anything else is shown in full: the vector, the error code, and RIP unless
 * it is the instruction's.
 *
 * Not here, for processors or Linux differ: SYSENTER, SYSEXIT, INT 80h, what UMIP makes Linux stand for (SGDT, SIDT, SLDT, SMSW,
 * STR), VMCALL, and what not every processor has.  Code with WRPKRU, XRSTOR or XRSTORS is refused by a container. */
#include "linux.h"

#define PROT_EXEC 4
#define MAP_FIXED 0x10
#define SLOT 32
#define TARGET 24               /* in a slot: where a far branch leads */
#define SLOTS (PAGE / SLOT)
#define BREAKPOINT 0xcc

enum { ZERO, FLAGS, FAR2, FAR4, FAR8, FRAME2, FRAME4, FRAME8 };       /* what is on the stack, and at the operand */

/* What is not tried: F0; 66, F2 and F3; REX.W; a page's end and the longest. */
enum { NO_LOCK = 1, NO_CHOICE = 2, NO_WIDE = 4, NO_END = 8 };

static const struct instruction { const char *name; u8 length, code[4], stack, not; } instructions[] = {
    {"syscall", 2, {0x0f, 0x05}, ZERO, 0},
    {"sysret", 2, {0x0f, 0x07}, ZERO, 0},
    {"cpuid", 2, {0x0f, 0xa2}, ZERO, 0},
    {"int3", 1, {0xcc}, ZERO, 0},
    {"int 3", 2, {0xcd, 0x03}, ZERO, 0},
    {"int 4", 2, {0xcd, 0x04}, ZERO, 0},
    {"int1", 1, {0xf1}, ZERO, 0},
    {"into", 1, {0xce}, ZERO, 0},
    {"iret, 16 bits", 1, {0xcf}, FRAME2, 0},
    {"iret, 32 bits", 1, {0xcf}, FRAME4, 0},
    {"iret, 64 bits", 1, {0xcf}, FRAME8, 0},
    {"retf, 16 bits", 1, {0xcb}, FAR2, 0},
    {"retf, 32 bits", 1, {0xcb}, FAR4, 0},
    {"retf, 64 bits", 1, {0xcb}, FAR8, 0},
    {"retf 8, 32 bits", 3, {0xca, 0x08, 0x00}, FAR4, 0},
    {"retf 8, 64 bits", 3, {0xca, 0x08, 0x00}, FAR8, 0},
    {"jmp m16:16", 2, {0xff, 0x2f}, FAR2, NO_WIDE},
    {"jmp m16:32", 2, {0xff, 0x2f}, FAR4, NO_WIDE},
    {"jmp m16:64", 2, {0xff, 0x2f}, FAR8, NO_WIDE},
    {"call m16:16", 2, {0xff, 0x1f}, FAR2, NO_WIDE},
    {"call m16:32", 2, {0xff, 0x1f}, FAR4, NO_WIDE},
    {"call m16:64", 2, {0xff, 0x1f}, FAR8, NO_WIDE},
    {"jmp far, register", 2, {0xff, 0xe9}, ZERO, 0},
    {"hlt", 1, {0xf4}, ZERO, 0},
    {"cli", 1, {0xfa}, ZERO, 0},
    {"sti", 1, {0xfb}, ZERO, 0},
    {"popf", 1, {0x9d}, FLAGS, 0},
    {"pushf", 1, {0x9c}, ZERO, 0},
    {"rdtsc", 2, {0x0f, 0x31}, ZERO, 0},
    {"rdtscp", 3, {0x0f, 0x01, 0xf9}, ZERO, 0},
    {"rdpmc", 2, {0x0f, 0x33}, ZERO, 0},
    {"rdmsr", 2, {0x0f, 0x32}, ZERO, 0},
    {"wrmsr", 2, {0x0f, 0x30}, ZERO, 0},
    {"mov cr0, rcx", 3, {0x0f, 0x22, 0xc1}, ZERO, NO_LOCK},
    {"mov rcx, cr0", 3, {0x0f, 0x20, 0xc1}, ZERO, NO_LOCK},
    {"mov cr3, rcx", 3, {0x0f, 0x22, 0xd9}, ZERO, NO_LOCK},
    {"mov dr7, rcx", 3, {0x0f, 0x23, 0xf9}, ZERO, 0},
    {"mov rcx, dr7", 3, {0x0f, 0x21, 0xf9}, ZERO, 0},
    {"clts", 2, {0x0f, 0x06}, ZERO, 0},
    {"lmsw cx", 3, {0x0f, 0x01, 0xf1}, ZERO, 0},
    {"lgdt", 3, {0x0f, 0x01, 0x17}, ZERO, 0},
    {"lidt", 3, {0x0f, 0x01, 0x1f}, ZERO, 0},
    {"lldt cx", 3, {0x0f, 0x00, 0xd1}, ZERO, 0},
    {"ltr cx", 3, {0x0f, 0x00, 0xd9}, ZERO, 0},
    {"group 6 /6", 3, {0x0f, 0x00, 0xf1}, ZERO, NO_END},
    {"group 6 /7", 3, {0x0f, 0x00, 0xf9}, ZERO, NO_END},
    {"group 7 /5", 3, {0x0f, 0x01, 0x2f}, ZERO, NO_END},
    {"lar", 3, {0x0f, 0x02, 0xc1}, ZERO, 0},
    {"lsl", 3, {0x0f, 0x03, 0xc1}, ZERO, 0},
    {"verr cx", 3, {0x0f, 0x00, 0xe1}, ZERO, 0},
    {"verw cx", 3, {0x0f, 0x00, 0xe9}, ZERO, 0},
    {"verw m16", 3, {0x0f, 0x00, 0x2f}, ZERO, 0},
    {"invlpg", 3, {0x0f, 0x01, 0x3f}, ZERO, 0},
    {"invd", 2, {0x0f, 0x08}, ZERO, 0},
    {"wbinvd", 2, {0x0f, 0x09}, ZERO, 0},
    {"swapgs", 3, {0x0f, 0x01, 0xf8}, ZERO, 0},
    {"clac", 3, {0x0f, 0x01, 0xca}, ZERO, NO_CHOICE},
    {"stac", 3, {0x0f, 0x01, 0xcb}, ZERO, NO_CHOICE},
    {"monitor", 3, {0x0f, 0x01, 0xc8}, ZERO, NO_CHOICE},
    {"mwait", 3, {0x0f, 0x01, 0xc9}, ZERO, NO_CHOICE},
    {"in al, 0", 2, {0xe4, 0x00}, ZERO, 0},
    {"out 0, eax", 2, {0xe7, 0x00}, ZERO, 0},
    {"in eax, dx", 1, {0xed}, ZERO, 0},
    {"out dx, al", 1, {0xee}, ZERO, 0},
    {"insb", 1, {0x6c}, ZERO, 0},
    {"insd", 1, {0x6d}, ZERO, 0},
    {"outsb", 1, {0x6e}, ZERO, 0},
    {"outsd", 1, {0x6f}, ZERO, 0},
    {"mov ds, cx", 2, {0x8e, 0xd9}, ZERO, 0},
    {"mov cs, cx", 2, {0x8e, 0xc9}, ZERO, 0},
    {"mov ss, cx", 2, {0x8e, 0xd1}, ZERO, 0},
    {"mov sreg 6, cx", 2, {0x8e, 0xf1}, ZERO, 0},
    {"mov cx, ds", 2, {0x8c, 0xd9}, ZERO, 0},
    {"mov cx, sreg 7", 2, {0x8c, 0xf9}, ZERO, 0},
    {"push fs", 2, {0x0f, 0xa0}, ZERO, 0},
    {"pop gs", 2, {0x0f, 0xa9}, ZERO, 0},
    {"push cs", 1, {0x0e}, ZERO, 0},
    {"lss", 3, {0x0f, 0xb2, 0x07}, ZERO, NO_WIDE},
    {"lfs", 3, {0x0f, 0xb4, 0x07}, ZERO, NO_WIDE},
    {"lfs, register", 3, {0x0f, 0xb4, 0xc1}, ZERO, 0},
    {"cmpxchg8b", 3, {0x0f, 0xc7, 0x0f}, ZERO, 0},
    {"cmpxchg8b, register", 3, {0x0f, 0xc7, 0xc9}, ZERO, 0},
    {"vmlaunch", 3, {0x0f, 0x01, 0xc2}, ZERO, 0},
    {"vmread", 3, {0x0f, 0x78, 0xc1}, ZERO, NO_CHOICE},
    {"vmptrld", 3, {0x0f, 0xc7, 0x37}, ZERO, NO_CHOICE},
    {"ud2", 2, {0x0f, 0x0b}, ZERO, 0},
    {"ud1", 3, {0x0f, 0xb9, 0xc1}, ZERO, NO_END},
    {"ud0", 3, {0x0f, 0xff, 0xc1}, ZERO, NO_END},
};

static const u8 prefixes[] = {
    0x66, 0x67, 0xf0, 0xf2, 0xf3, 0x2e, 0x36, 0x3e, 0x26, 0x64, 0x65, 0x40, 0x41, 0x42, 0x43, 0x44,
    0x45, 0x46, 0x47, 0x48, 0x49, 0x4a, 0x4b, 0x4c, 0x4d, 0x4e, 0x4f,
};

static const u8 some[] = {0x66, 0x67, 0xf0, 0xf2, 0xf3, 0x2e, 0x64, 0x41, 0x48};

static u8 operand[PAGE] __attribute__((aligned(64)));
static u8 alternative_memory[8 * PAGE] __attribute__((aligned(16)));

/* Code and stack are above 4 GiB: an address that is cut to 32 bits is another one. */
#define CODE 0x700000100000UL
#define STACK ((u8 *)0x700000200800UL)
#define STACK_PAGE ((u64)STACK & ~(PAGE - 1))

/* What the instruction came to, in the words of the signal that ended it. */
static struct { i32 signal; u64 trap, error, rip, rsp, rax, rcx, address; } seen;

void run_at(u64 code, void *operand, void *stack);
extern char landing[];
u64 saved_stack;
asm("run_at:\n"
    "   push %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15\n"
    "   mov %rsp, saved_stack\n"
    "   mov %rdx, %rsp; mov %rdi, %r14; mov %rsi, %rdi; mov %rsi, %r15\n"
    "   mov $39, %eax; mov $39, %r8d\n"                 /* getpid */
    "   xor %ecx, %ecx; xor %edx, %edx; xor %ebx, %ebx; xor %ebp, %ebp; xor %esi, %esi\n"
    "   xor %r9d, %r9d; xor %r10d, %r10d; xor %r11d, %r11d; xor %r12d, %r12d; xor %r13d, %r13d\n"
    "   jmp *%r14\n"
    "landing:\n"
    "   cld\n"
    "   mov saved_stack, %rsp\n"
    "   pop %r15; pop %r14; pop %r13; pop %r12; pop %rbp; pop %rbx\n"
    "   ret\n");

static void on_signal(i32 signal, struct siginfo *info, struct context *c) {
    seen.signal = signal, seen.trap = c->trap, seen.error = c->error, seen.rip = c->rip, seen.rsp = c->rsp;
    seen.rax = c->rax, seen.rcx = c->rcx, seen.address = info->address;
    c->rip = (u64)landing;
    c->rflags = 0x202;
}

static u16 code_selector(void) { u16 s; asm("mov %%cs, %0" : "=r"(s)); return s; }
static u16 stack_selector(void) { u16 s; asm("mov %%ss, %0" : "=r"(s)); return s; }

static void words(u8 *to, const u64 *values, u64 count, u64 size) {
    for (u64 i = 0; i < count; i++)
        memcpy(to + i * size, &values[i], size);
}

/* The stack and the operand that it wants. */
static void lay_out(u32 kind, u64 target) {
    static const u64 sizes[] = {[FAR2] = 2, [FAR4] = 4, [FAR8] = 8, [FRAME2] = 2, [FRAME4] = 4, [FRAME8] = 8};
    u64 frame[] = {target, code_selector(), 0x202, (u64)STACK, stack_selector()};

    memset(operand, 0, 64);
    memset(STACK, 0, 64);
    if (kind == FLAGS) {
        frame[0] = 0x202;
        words(STACK, frame, 1, 8);
    } else if (kind != ZERO) {
        words(STACK, frame, kind < FRAME2 ? 2 : 5, sizes[kind]);
        words(operand, frame, 1, sizes[kind]);
        words(operand + sizes[kind], frame + 1, 1, 2);
    }
}

static u64 encode(u8 *to, const struct instruction *in, const u8 *before, u64 n) {
    memcpy(to, before, n);
    memcpy(to + n, in->code, in->length);
    return n + in->length;
}

static char *hexadecimal(char *to, u64 n) {
    int digits = 1;

    while (digits < 16 && n >> 4 * digits)
        digits++;
    while (digits--)
        *to++ = "0123456789abcdef"[n >> 4 * digits & 15];
    return to;
}

/* A cell in *line. */
static char *cell(char *line, u64 start, u64 length, u64 target, u64 edge) {
    u64 at = seen.rip, off = at - start;
    i64 moved = (i64)(seen.rsp - (u64)STACK);
    char what = 'x';

    if (seen.trap == 3)
        what = at == target + 1 ? 't' : off == length + 1 ? '.' : off == length ? 'b' : 'x';
    else if (seen.trap == 4 && off == length)
        what = 'o';
    else if (seen.trap == 1 && off == length)
        what = 'i';
    else if (seen.trap == 6 && !off)
        what = 'u';
    else if (seen.trap == 13 && !off && !seen.error)
        what = 'g';
    else if (seen.trap == 14 && at == (target & 0xffff) && seen.address == at)
        what = 'l';
    else if (seen.trap == 14 && at == (target & 0xffffffff) && seen.address == at)
        what = 'd';
    else if (seen.trap == 14 && edge && seen.address == edge)
        what = at == edge ? 'e' : !off ? 'f' : 'x';
    *line++ = what;
    if (what == 'x') {
        line = hexadecimal(line, seen.trap), *line++ = '(';
        if (seen.error == (stack_selector() & 0xfffcUL))
            *line++ = 's', *line++ = 's';       /* which selector that is, is the system's choice */
        else
            line = hexadecimal(line, seen.error);
        *line++ = ')';
        if (off)
            *line++ = '@', line = hexadecimal(line, at);
    }
    if (moved) {
        *line++ = moved < 0 ? '-' : '+';
        line = hexadecimal(line, (u64)(moved < 0 ? -moved : moved));
    }
    *line++ = ' ';
    return line;
}

static void try(u64 start, const struct instruction *in) {
    lay_out(in->stack, (start & ~(SLOT - 1UL)) + TARGET);
    memset(&seen, 0, sizeof seen);
    run_at(start, operand, STACK);
}

static int differs(const struct instruction *in, const u8 *before, u64 n) {
    for (u64 i = 0; i < n; i++) {
        u8 p = before[i];
        if ((in->not & NO_LOCK && p == 0xf0) || (in->not & NO_CHOICE && (p == 0x66 || p == 0xf2 || p == 0xf3)) ||
            (in->not & NO_WIDE && p >= 0x48 && p <= 0x4f))
            return 1;
    }
    return 0;
}

/* Cells for each of `n` second prefixes behind the first one, if there is one; then for none. */
static void row(const struct instruction *in, const u8 *first, const u8 *second, u64 n, u8 *page) {
    static char line[1024];
    u8 before[2] = {first ? *first : 0};
    u64 lengths[SLOTS], have = first ? 1 : 0;
    char *end = line;

    syscall(SYS_mprotect, page, PAGE, R_W);
    memset(page, BREAKPOINT, PAGE);
    for (u64 i = 0; i <= n; i++) {
        before[have] = i < n ? second[i] : 0;
        lengths[i] = encode(page + i * SLOT, in, before, have + (i < n));
        if (differs(in, before, have + (i < n)))
            lengths[i] = 0;
    }
    if (syscall(SYS_mprotect, page, PAGE, PROT_READ | PROT_EXEC)) {
        print("%s: refused\n", in->name);
        return;
    }
    for (u64 i = 0; i <= n; i++) {
        u64 at = (u64)page + i * SLOT;
        if (!lengths[i]) {
            *end++ = '-', *end++ = ' ';
            continue;
        }
        try(at, in);
        if (in->code[1] == 0x05 && seen.trap == 3 && (seen.rax != (u64)syscall(SYS_getpid) || seen.rcx != at + lengths[i]))
            *end++ = '!';
        end = cell(end, at, lengths[i], at + TARGET, 0);
    }
    *end = 0;
    print("%x: %s\n", first ? *first : 0, line);
}

/* At the end of a page, whole and cut: bytes of it are where nothing can be fetched. */
static void border(const struct instruction *in, const u8 *prefix, u8 *page) {
    static char line[256];
    u8 code[8];
    u64 length = encode(code, in, prefix, prefix ? 1 : 0), edge = (u64)page + PAGE;
    char *end = line;

    if (prefix && differs(in, prefix, 1))
        return;
    for (u64 there = length; there; there--) {
        syscall(SYS_mprotect, page, PAGE, R_W);
        memset(page, BREAKPOINT, PAGE);
        memcpy(page + PAGE - there, code, there);
        syscall(SYS_mprotect, page, PAGE, PROT_READ | PROT_EXEC);
        lay_out(in->stack, edge - SLOT);
        memset(&seen, 0, sizeof seen);
        run_at(edge - there, operand, STACK);
        end = cell(end, edge - there, length, edge - SLOT, edge);
    }
    *end = 0;
    print("%x: %s\n", prefix ? *prefix : 0, line);
}

/* Fifteen bytes are an instruction, sixteen are #GP. */
static void longest(const struct instruction *in, u8 *page) {
    char line[128], *end = line;

    for (u64 size = 14; size <= 16; size++) {
        syscall(SYS_mprotect, page, PAGE, R_W);
        memset(page, BREAKPOINT, PAGE);
        memset(page, 0x3e, size - in->length);
        memcpy(page + size - in->length, in->code, in->length);
        syscall(SYS_mprotect, page, PAGE, PROT_READ | PROT_EXEC);
        try((u64)page, in);
        end = cell(end, (u64)page, size, (u64)page + TARGET, 0);
    }
    *end = 0;
    print("%s: %s\n", in->name, line);
}

/* Sites that a container may rewrite: MOV to EAX, then SYSCALL, with a prefix before the one or the other. */
#define SITE(name, ...) \
    u64 name(u64 number); \
    asm(".type " #name ", @function\n" #name ": mov %rdi, %rax\n .byte " #__VA_ARGS__ "\n nop\n ret\n .size " #name ", . - " #name "\n")

SITE(site, 0xb8, 39, 0, 0, 0, 0x0f, 0x05);
SITE(site_rex, 0xb8, 39, 0, 0, 0, 0x48, 0x0f, 0x05);
SITE(site_small, 0xb8, 39, 0, 0, 0, 0x66, 0x0f, 0x05);
SITE(site_rep, 0xb8, 39, 0, 0, 0, 0xf3, 0x0f, 0x05);
SITE(site_segment, 0xb8, 39, 0, 0, 0, 0x2e, 0x0f, 0x05);
SITE(site_two, 0xb8, 39, 0, 0, 0, 0x66, 0x48, 0x0f, 0x05);
SITE(mov_segment, 0x2e, 0xb8, 39, 0, 0, 0, 0x0f, 0x05);
SITE(mov_rex, 0x40, 0xb8, 39, 0, 0, 0, 0x0f, 0x05);
SITE(mov_rex_ignored, 0x48, 0x2e, 0xb8, 39, 0, 0, 0, 0x0f, 0x05);
SITE(mov_other, 0x41, 0xb8, 39, 0, 0, 0, 0x0f, 0x05);              /* MOV to R8D: the call is the one that was asked for */
SITE(mov_other_two, 0x48, 0x41, 0xb8, 39, 0, 0, 0, 0x0f, 0x05);
SITE(mov_small, 0x66, 0xb8, 39, 0, 0x66, 0x0f, 0x05);

static const struct { const char *name; u64 (*call)(u64); u8 fixed; } sites[] = {
    {"syscall", site, 1}, {"48 syscall", site_rex, 1}, {"66 syscall", site_small, 1}, {"f3 syscall", site_rep, 1},
    {"2e syscall", site_segment, 1}, {"66 48 syscall", site_two, 1}, {"2e mov", mov_segment, 1}, {"40 mov", mov_rex, 1},
    {"48 2e mov", mov_rex_ignored, 1}, {"41 mov", mov_other, 0}, {"48 41 mov", mov_other_two, 0},
    {"66 mov", mov_small, 1},
};

static void try_sites(void) {
    u64 pid = (u64)syscall(SYS_getpid), parent = (u64)syscall(SYS_getppid);

    for (u64 i = 0; i < COUNT(sites); i++)
        for (int turn = 0; turn < 3; turn++)
            print("%s: %s\n", sites[i].name, sites[i].call(SYS_getppid) == (sites[i].fixed ? pid : parent) ? "ok" : "wrong");
}

int main(int argc, char **argv) {
    static const i32 signals[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP};
    struct stack alternative = {alternative_memory, 0, 0, sizeof alternative_memory};
    u8 *page = (u8 *)syscall(SYS_mmap, CODE, 2 * PAGE, R_W, PRIVATE_ANONYMOUS | MAP_FIXED, -1, 0);

    (void)argc, (void)argv;
    begin();
    print("-- sites\n");
    try_sites();
    syscall(SYS_mmap, STACK_PAGE, PAGE, R_W, PRIVATE_ANONYMOUS | MAP_FIXED, -1, 0);
    syscall(SYS_mprotect, page + PAGE, PAGE, PROT_NONE);
    syscall(SYS_sigaltstack, &alternative, 0);
    for (u64 i = 0; i < COUNT(signals); i++)
        handle(signals[i], (void *)on_signal, SA_SIGINFO | SA_ONSTACK | SA_NODEFER, 0);
    for (u64 i = 0; i < COUNT(instructions); i++) {
        const struct instruction *in = &instructions[i];
        print("-- %s\n", in->name);
        row(in, NULL, prefixes, COUNT(prefixes), page);
        for (u64 p = 0; p < COUNT(some); p++)
            row(in, &some[p], some, COUNT(some), page);
    }
    print("-- at a page's end\n");
    for (u64 i = 0; i < COUNT(instructions); i++) {
        if (instructions[i].not & NO_END)
            continue;
        print("%s\n", instructions[i].name);
        border(&instructions[i], NULL, page);
        for (u64 p = 0; p < 12; p++)
            border(&instructions[i], &prefixes[p], page);
    }
    print("-- the longest\n");
    for (u64 i = 0; i < COUNT(instructions); i++)
        if (instructions[i].code[0] != BREAKPOINT && !(instructions[i].not & NO_END))
            longest(&instructions[i], page);
    return 0;
}
