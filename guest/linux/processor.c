/* What the processor does for a program without privileges, and went wrong once: code up to a page's end, other code where an
 * instruction was that traps, addresses that are not canonical, floating-point flags, timers that are armed while others wait. */
#include "linux.h"

#define PROT_EXEC 4
#define CODE ((u8 *)0x700000100000UL)
#define NOT_CANONICAL 0x1234567800000000UL
#define NOP 0x90
#define RET 0xc3
#define MILLISECOND 1000
#define LATE (1000 * MILLISECOND)       /* even where somebody else has the processor */

static u8 alternative_memory[8 * PAGE] __attribute__((aligned(16)));
static struct { u64 trap, rip, address; } seen;

/* run_at(code, address) calls code with RAX, RBP, RSP, RSI, RDI and R13 at the address; a signal comes back to landing. */
void run_at(const u8 *code, u64 address);
extern char landing[];
u64 saved_stack;
asm("run_at:\n"
    "   push %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15\n"
    "   mov %rsp, saved_stack\n"
    "   mov %rdi, %r14; mov %rsi, %rax; mov %rsi, %rbp; mov %rsi, %rdi; mov %rsi, %r13; mov $1, %ecx\n"
    "   test %rsi, %rsi; jz 1f\n"
    "   mov %rsi, %rsp; jmp *%r14\n"
    "1: call *%r14\n"
    "landing:\n"
    "   cld\n"
    "   mov saved_stack, %rsp\n"
    "   pop %r15; pop %r14; pop %r13; pop %r12; pop %rbp; pop %rbx\n"
    "   ret\n");

static void on_signal(i32 signal, struct siginfo *info, struct context *c) {
    (void)signal;
    seen.trap = c->trap, seen.rip = c->rip, seen.address = info->address;
    c->rip = (u64)landing;
    c->rflags = 0x202;
}

/* Put code there, and nothing behind it that could run. */
static void write_code(u8 *at, const void *code, u64 n) {
    u8 *page = (u8 *)((u64)at & ~(PAGE - 1));

    syscall(SYS_mprotect, page, PAGE, R_W);
    memcpy(at, code, n);
    syscall(SYS_mprotect, page, PAGE, PROT_READ | PROT_EXEC);
}

static void page_end(void) {
    static const u32 before[] = {1, 2, 3, 4, 8, 15, 16, 17, 32, 64, 100, 1000, 4096};
    static u8 nops[PAGE];

    memset(nops, NOP, PAGE);
    write_code(CODE, nops, PAGE);
    syscall(SYS_mprotect, CODE + PAGE, PAGE, PROT_NONE);
    for (u64 i = 0; i < COUNT(before); i++) {
        run_at(CODE + PAGE - before[i], 0);
        print("%lu bytes before a page's end: %s at the end\n", (u64)before[i],
              seen.trap == 14 && seen.rip == (u64)CODE + PAGE && seen.address == seen.rip ? "a fault" : "something else");
    }
}

/* Each is run where the ones before it were, as code that comes and goes does. */
static void other_code(void) {
    static const struct { const char *name; u8 code[12]; } codes[] = {
        {"verr", {0x0f, 0x00, 0xe0, RET}},
        {"near jmp", {0xe9, 0x00, 0x00, 0x00, 0x00, RET}},
        {"verw", {0x0f, 0x00, 0xe8, RET}},
        {"near call", {0xe8, 0x01, 0x00, 0x00, 0x00, RET, RET}},
        {"fnstsw", {0xdf, 0xe0, RET}},
        {"mov", {0x89, 0xc1, RET}},
        {"lar", {0x0f, 0x02, 0xc8, RET}},
        {"short jmp", {0xeb, 0x00, RET}},
        {"syscall", {0x6a, 0x27, 0x58, 0x0f, 0x05, RET}},                       /* push 39 (getpid); pop rax */
        {"syscall with REX.W", {0x6a, 0x27, 0x58, 0x48, 0x0f, 0x05, RET}},
        {"syscall with LOCK", {0xf0, 0x0f, 0x05, RET}},
        {"ud2", {0x0f, 0x0b}},
        {"nop", {NOP, RET}},
    };

    for (u64 turn = 0; turn < 2; turn++)
        for (u64 i = 0; i < COUNT(codes); i++) {
            write_code(CODE, codes[i].code, sizeof codes[i].code);
            seen.trap = 0;
            run_at(CODE, 0);
            print("%s: trap %lu\n", codes[i].name, seen.trap);
        }
}

static void not_canonical(void) {
    static const struct { const char *name; u8 code[8]; } codes[] = {
        {"mov ecx, [rax]", {0x8b, 0x08}}, {"mov ecx, [rsp]", {0x8b, 0x0c, 0x24}}, {"mov [rbp], ecx", {0x89, 0x4d, 0x00}},
        {"mov ecx, [r13]", {0x41, 0x8b, 0x4d, 0x00}}, {"mov ecx, ds:[rbp]", {0x3e, 0x8b, 0x4d, 0x00}},
        {"mov ecx, ss:[rax]", {0x36, 0x8b, 0x08}}, {"mov ecx, gs:[rbp]", {0x65, 0x8b, 0x4d, 0x00}},
        {"push", {0x50}}, {"pop", {0x58}}, {"push [rax]", {0xff, 0x30}}, {"pop [rax]", {0x8f, 0x00}},
        {"call", {0xe8, 0x00, 0x00, 0x00, 0x00}}, {"call [rax]", {0xff, 0x10}}, {"jmp [rbp]", {0xff, 0x65, 0x00}}, {"ret", {RET}},
        {"pushf", {0x9c}}, {"popf", {0x9d}}, {"enter", {0xc8, 0x08, 0x00, 0x00}}, {"leave", {0xc9}}, {"iretq", {0x48, 0xcf}},
        {"movs", {0xa4}}, {"rep stos", {0xf3, 0xaa}}, {"movups xmm0, [rbp]", {0x0f, 0x10, 0x45, 0x00}},
        {"fxsave [rbp]", {0x0f, 0xae, 0x45, 0x00}}, {"lock add [rax], eax", {0xf0, 0x01, 0x00}},
    };

    for (u64 i = 0; i < COUNT(codes); i++) {
        write_code(CODE, codes[i].code, sizeof codes[i].code);
        run_at(CODE, NOT_CANONICAL);
        print("%s: trap %lu\n", codes[i].name, seen.trap);
    }
}

static const double numbers[] = {0.0, 1.0, 2.5, -3.75, 40000.0, -32768.5, 3e9, 1e19, -1e300, 0.0 / 1.0, 1.0 / 3.0};
static double other;
static u64 rflags, stored;
static u16 status;

#define COMPARE(name, instruction) do { \
    asm volatile("fninit; fldl %3; fldl %2; pushq $0x8d7; popfq\n" instruction "; pushfq; popq %0; fnstsw %1" \
                 : "=m"(rflags), "=m"(status) : "m"(numbers[i]), "m"(other) : "cc", "memory"); \
    print("%s %lu: flags %lx, status %lx\n", name, i, rflags & 0x8d5, (u64)status & 0x7f); \
} while (0)
#define STORE(name, instruction) do { \
    stored = 0x5555555555555555; \
    asm volatile("fninit; fldl %2\n" instruction " %0; fnstsw %1" : "+m"(stored), "=m"(status) : "m"(numbers[i]) : "memory"); \
    print("%s %lu: %lx, status %lx\n", name, i, stored, (u64)status & 0x7f); \
} while (0)
#define COMPUTE(name, instruction) do { \
    u32 clean = 0x1f80, after; \
    asm volatile("ldmxcsr %1; movsd %2, %%xmm0\n" instruction " %3, %%xmm0; stmxcsr %0" \
                 : "=m"(after) : "m"(clean), "m"(numbers[i]), "m"(other) : "xmm0"); \
    print("%s %lu: mxcsr %lx\n", name, i, (u64)after); \
} while (0)

static void floating_point(void) {
    for (u64 i = 0; i < COUNT(numbers); i++) {
        other = 2.5;
        COMPARE("fcomi", "fcomi %%st(1), %%st");
        COMPARE("fucomip", "fucomip %%st(1), %%st");
        STORE("fisttp 16", "fisttps");
        STORE("fisttp 32", "fisttpl");
        STORE("fisttp 64", "fisttpll");
        STORE("fistp 16", "fistps");
        STORE("fistp 32", "fistpl");
        COMPUTE("divsd", "divsd");
        COMPUTE("addsd", "addsd");
        other = __builtin_nan("");
        COMPARE("fcomi with a NaN", "fcomi %%st(1), %%st");
        COMPARE("fucomi with a NaN", "fucomi %%st(1), %%st");
        COMPUTE("comisd with a NaN", "comisd");
    }
    /* The flags are a process's own, and stay while another one runs. */
    asm volatile("fninit; fld1; fchs; fsqrt");
    i64 child = fork();
    if (!child) {
        asm volatile("fnclex; fnstsw %0" : "=m"(status));
        quit(status & 0x7f);
    }
    reap("a child without flags", child);
    asm volatile("fnstsw %0" : "=m"(status));
    print("the parent's status %lx\n", (u64)status & 0x7f);
}

static volatile i32 rung;
static void on_alarm(i32 signal) { (void)signal; rung++; }

/* A timer that is armed for an earlier moment while another waits, beside a loop without system calls. */
static void timers(void) {
    i64 sleeper = fork(), looper, worst = 0;
    struct itimer timer = {{0, 0}, {0, 0}};

    if (!sleeper) {
        nap(3000);
        quit(0);
    }
    looper = fork();
    if (!looper)
        for (;;)
            asm volatile("nop");
    for (i64 i = 1; i <= 25; i++) {
        struct timespec t = {0, i * 37 % 19 * 1000 * 1000 + 1};
        i64 before = microseconds();
        syscall(SYS_nanosleep, &t, NULL);
        i64 late = microseconds() - before - t.ns / 1000;
        worst = late > worst ? late : worst;
    }
    print("nanosleep beside a loop and a sleeper: %s\n", worst < LATE ? "in time" : "late");
    syscall(SYS_kill, looper, SIGKILL);
    reap("the loop", looper);
    handle(SIGALRM, (void *)on_alarm, 0, 0);
    worst = 0;
    for (i64 i = 1; i <= 20; i++) {
        i32 before = rung;
        i64 since = microseconds();
        timer.value[1] = i * 5;
        syscall(SYS_setitimer, 0, &timer, NULL);
        while (rung == before)
            asm volatile("nop");
        i64 late = microseconds() - since - timer.value[1];
        worst = late > worst ? late : worst;
    }
    print("an interval timer in a tight loop: %s\n", worst < LATE ? "in time" : "late");
    syscall(SYS_kill, sleeper, SIGKILL);
    reap("the sleeper", sleeper);
}

int main(int argc, char **argv) {
    struct stack alternative = {alternative_memory, 0, 0, sizeof alternative_memory};
    static const i32 signals[] = {SIGSEGV, SIGBUS, SIGILL, SIGTRAP};

    (void)argc, (void)argv;
    begin();
    syscall(SYS_mmap, CODE, 2 * PAGE, R_W, PRIVATE_ANONYMOUS | FIXED, -1, 0);
    syscall(SYS_sigaltstack, &alternative, 0);
    for (u64 i = 0; i < COUNT(signals); i++)
        handle(signals[i], (void *)on_signal, SA_SIGINFO | SA_ONSTACK | SA_NODEFER, 0);
    page_end();
    other_code();
    not_canonical();
    floating_point();
    timers();
    return 42;
}
