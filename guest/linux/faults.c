/* Faults as signals: what a handler learns of them, what it may change, and the
 * stack and the vector registers that it has.
 *
 * Not here: what the processor raises and QEMU's TCG, which is below the machine, does not: exceptions of vector
 * arithmetic (#XM), and a general protection fault for a vector that is not aligned (movaps). */
#include "linux.h"

/* Each faults, with nothing of its own on the stack: a handler goes on after it by
 * doing its return. */
u64 do_read(u64), do_write(u64), do_divide(u64), do_undefined(u64), do_halt(u64), do_break(u64),
    do_recurse(u64), do_call(u64), do_registers(u64), do_pattern(u64), do_step(u64), do_es(u64), do_fs(u64), do_far(u64);
extern char step_end[];
u64 recursion_start, vectors_out[32], registers_out[3];
asm("do_read: mov (%rdi), %rax; ret\n"
    "do_write: movb $1, (%rdi); ret\n"
    "do_divide: xor %edx, %edx; mov $1, %eax; xor %ecx, %ecx; div %rcx; ret\n"
    "do_undefined: ud2; ret\n"
    "do_halt: hlt; ret\n"
    "do_break: int3; ret\n"
    "do_recurse: mov %rsp, recursion_start; 1: sub $512, %rsp; movq $0, (%rsp); jmp 1b\n"
    "do_call: jmp *%rdi\n"
    "do_es: mov %edi, %es; ret\n"
    "do_fs: mov %edi, %fs; ret\n"
    "do_far: ljmpl *far_pointer\n"
    ".pushsection .data; far_pointer: .long 0; .word 7; .popsection\n"
    /* sets the trap flag: one step later there is a trap */
    "do_step: pushfq; orl $0x100, (%rsp); popfq; nop; step_end: nop; nop; ret\n"
    /* a signal between two registers' loads and stores: the handler changes r12, r13 and the carry */
    "do_registers: push %r12; push %r13; push %r14; mov $12, %r12; mov $13, %r13; mov $14, %r14; clc\n"
    "mov $10, %esi; mov $62, %eax; syscall; setc registers_out+16; mov %r12, registers_out; mov %r13, registers_out+8\n"
    "mov %r14, %rax; pop %r14; pop %r13; pop %r12; ret\n"
    /* every vector register, over a signal whose handler uses them all */
    "do_pattern: movq %rdi, %xmm0; punpcklqdq %xmm0, %xmm0\n"
    ".irp n, 1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\n movq %rdi, %xmm\\n; imul $\\n, %rdi, %rax; movq %rax, %xmm\\n; punpcklqdq %xmm0, %xmm\\n\n .endr\n"
    "mov $10, %esi; mov $39, %eax; syscall; mov %eax, %edi; mov $62, %eax; syscall\n"
    ".irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\n movups %xmm\\n, vectors_out+16*\\n\n .endr\n"
    "ret\n");

static volatile i32 handled, on_stack;
static struct siginfo seen;
static struct context then;
static struct stack alternative;
static char alternative_memory[16 * PAGE] __attribute__((aligned(16)));
static char buffer[PAGE];

static i32 on_alternative(void) {
    char here;
    return &here > alternative_memory && &here < alternative_memory + sizeof alternative_memory;
}

static void on_fault(i32 signal, struct siginfo *info, struct context *c) {
    handled = signal, seen = *info, then = *c, on_stack = on_alternative();
    if (recursion_start)
        c->rsp = recursion_start, recursion_start = 0;
    c->rflags &= ~0x100UL;                      /* no further steps */
    c->rax = 0xfa;
    c->rip = *(u64 *)c->rsp;
    c->rsp += 8;
}

static void fault(const char *what, u64 (*f)(u64), u64 argument) {
    handled = 0;
    memset(&seen, 0, sizeof seen);
    u64 r = f(argument);
    print("%s: result %lx signal %d code %d trap %lu error %lx\n", what, r, handled, seen.code, then.trap,
          then.error & ~1UL);                   /* whether the page was there yet is the system's choice */
    if (seen.signo != handled || mask(SIG_BLOCK, 0))
        print("... and something is left\n");
}

static void faults(void) {
    static const i32 signals[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP};
    char *p = (char *)syscall(SYS_mmap, NULL, 4 * PAGE, R_W, PRIVATE_ANONYMOUS, -1, 0);

    print("-- faults\n");
    for (u64 i = 0; i < COUNT(signals); i++)
        handle(signals[i], (void *)on_fault, SA_SIGINFO, 0);
    syscall(SYS_mprotect, p + PAGE, PAGE, PROT_READ);
    syscall(SYS_mprotect, p + 2 * PAGE, PAGE, PROT_NONE);
    syscall(SYS_munmap, p + 3 * PAGE, PAGE);
    fault("read of nothing", do_read, 0x123);
    CHECK(seen.address == 0x123 && then.cr2 == 0x123 && then.rip == (u64)do_read && then.rdi == 0x123);
    fault("write of nothing", do_write, (u64)p + 3 * PAGE + 5);
    CHECK(seen.address == (u64)p + 3 * PAGE + 5 && then.rip == (u64)do_write);
    p[PAGE - 1] = 1;
    fault("read over the edge", do_read, (u64)p + 2 * PAGE - 4);
    CHECK(seen.address == (u64)p + 2 * PAGE);
    p[0] = 7;
    fault("write of what is for reading, not touched", do_write, (u64)p + PAGE);
    do_read((u64)p + PAGE);
    fault("write of what is for reading, touched", do_write, (u64)p + PAGE + 9);
    CHECK(seen.address == (u64)p + PAGE + 9);
    fault("read of what is for nothing", do_read, (u64)p + 2 * PAGE + 8);
    CHECK(seen.address == (u64)p + 2 * PAGE + 8);
    fault("write of the program", do_write, (u64)do_read);
    fault("read of the kernel", do_read, 0xffffffff80000000);
    CHECK(seen.address == 0xffffffff80000000);
    fault("no address at all", do_read, 1UL << 63);
    CHECK(seen.address == 0);
    fault("jump to nothing", do_call, 0x10);
    CHECK(seen.address == 0x10 && then.rip == 0x10);
    fault("jump to data", do_call, (u64)p);
    CHECK(seen.address == (u64)p && then.rip == (u64)p);
    fault("division", do_divide, 0);
    CHECK(seen.address == then.rip && then.rip > (u64)do_divide && then.rip < (u64)do_undefined);
    fault("undefined", do_undefined, 0);
    CHECK(seen.address == (u64)do_undefined);
    fault("privileged", do_halt, 0);
    CHECK(seen.address == 0 && then.rip == (u64)do_halt);
    fault("a data segment of the LDT", do_es, 7);  /* selectors with TI set: nobody has an LDT */
    CHECK(seen.address == 0 && then.rip == (u64)do_es);
    fault("the LDT's last segment", do_fs, 0xffff);
    fault("code of the LDT", do_far, 0);
    CHECK(seen.address == 0 && then.rip == (u64)do_far);
    fault("breakpoint", do_break, 0);
    CHECK(then.rip == (u64)do_break + 1);
    fault("step", do_step, 0);
    CHECK(seen.address == (u64)step_end && then.rip == (u64)step_end);
    i64 fd = syscall(SYS_open, "short", O_RDWR | O_CREAT, 0644);
    syscall(SYS_write, fd, "x", 1);
    char *f = (char *)syscall(SYS_mmap, NULL, 2 * PAGE, R_W, SHARED, fd, 0);
    fault("in the file", do_read, (u64)f + 8);
    fault("behind the file", do_read, (u64)f + PAGE + 8);
    CHECK(seen.address == (u64)f + PAGE + 8);
    syscall(SYS_ftruncate, fd, 0);
    fault("behind its new end", do_write, (u64)f);
    CHECK(seen.address == (u64)f);
    closes(fd);
    for (u64 i = 0; i < 3; i++)
        if (fork() == 0) {                      /* what cannot be handled kills, even if ignored or blocked */
            if (i == 0)
                handle(SIGSEGV, SIG_IGN, 0, 0);
            if (i == 1)
                mask(SIG_BLOCK, BIT(SIGSEGV));
            if (i == 2)
                handle(SIGSEGV, (void *)16, SA_SIGINFO, 0);
            do_read(0);
            quit(1);
        } else {
            reap("not to be handled", -1);
        }
}

static void on_registers(i32 signal, struct siginfo *info, struct context *c) {
    (void)signal, (void)info;
    then = *c;
    c->r12 = 112;
    c->r13 += 100;
    c->rflags |= 1;
    c->mask = BIT(SIGHUP);
}

static void on_vectors(i32 signal) {
    u32 control;

    (void)signal;
    asm volatile("stmxcsr %0" : "=m"(control));
    asm volatile(".irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\n pcmpeqd %%xmm\\n, %%xmm\\n\n .endr" :: :
                 "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12",
                 "xmm13", "xmm14", "xmm15");
    print("control %x\n", control);
}

/* What the handler writes there is what the interrupted program has. */
static void registers(void) {
    print("-- registers\n");
    handle(SIGUSR1, (void *)on_registers, SA_SIGINFO, 0);
    u64 r14 = do_registers((u64)syscall(SYS_getpid));
    print("r12 %lu r13 %lu r14 %lu carry %u\n", registers_out[0], registers_out[1], r14, (u32)(registers_out[2] & 1));
    print("then r12 %lu rax %lu\n", then.r12, then.rax);
    CHECK(then.cs == 0x33 && then.ss == 0x2b && then.fpu && then.mask == 0);
    print("mask %lx\n", mask(SIG_SETMASK, 0));
    handle(SIGUSR1, (void *)on_vectors, 0, 0);
    u32 control = 0x7f80, wrong = 0;            /* rounds towards zero */
    asm volatile("ldmxcsr %0" :: "m"(control));
    double quarter = 0.25;
    asm volatile("fldl %0" :: "m"(quarter));
    do_pattern(0x0123456789abcdef);
    for (u64 i = 0; i < 16; i++)
        wrong += vectors_out[2 * i] != (i ? 0x0123456789abcdef * i : 0x0123456789abcdef) || vectors_out[2 * i + 1] != 0x0123456789abcdef;
    asm volatile("fstpl %0" : "=m"(quarter));
    asm volatile("stmxcsr %0" : "=m"(control));
    print("%d vectors are wrong, control %x\n", wrong, control);
    CHECK(quarter == 0.25);
    control = 0x1f80;
    asm volatile("ldmxcsr %0" :: "m"(control));
}

static void on_own_stack(i32 signal) {
    struct stack s, other = {buffer, 0, 0, PAGE};

    syscall(SYS_sigaltstack, NULL, &s);
    print("signal %d, on the other stack: %d, flags %d\n", signal, on_alternative(), s.flags);
    if (on_alternative())
        CALL(SYS_sigaltstack, &other, NULL);
}

static void stacks(void) {
    struct stack s, small = {alternative_memory, 0, 0, 1000}, none = {NULL, 2, 0, 0}, odd = {alternative_memory, 99, 0, PAGE};
    u64 limit[2], low[2];

    print("-- stacks\n");
    CALL(SYS_sigaltstack, NULL, &s);
    CHECK(s.base == NULL && s.size == 0 && s.flags == 2);
    CALL(SYS_sigaltstack, &small, NULL);
    CALL(SYS_sigaltstack, &odd, NULL);
    CALL(SYS_sigaltstack, 8, NULL);
    alternative = (struct stack){alternative_memory, 0, 0, sizeof alternative_memory};
    CALL(SYS_sigaltstack, &alternative, &s);
    CALL(SYS_sigaltstack, NULL, &s);
    CHECK(s.base == alternative_memory && s.size == sizeof alternative_memory && s.flags == 0);
    handle(SIGUSR1, (void *)on_own_stack, 0, 0);
    syscall(SYS_kill, syscall(SYS_getpid), SIGUSR1);
    handle(SIGUSR1, (void *)on_own_stack, SA_ONSTACK, 0);
    syscall(SYS_kill, syscall(SYS_getpid), SIGUSR1);

    /* the stack grows up to its limit, and its overflow is handled on the other one */
    syscall(SYS_prlimit64, 0, 3, NULL, limit);
    low[0] = 64 * PAGE, low[1] = limit[1];
    CALL(SYS_prlimit64, 0, 3, low, NULL);
    handle(SIGSEGV, (void *)on_fault, SA_SIGINFO | SA_ONSTACK, 0);
    for (i32 i = 0; i < 3; i++) {
        u64 top = (u64)&s;
        fault("overflow", do_recurse, 0);
        CHECK(on_stack && seen.address == then.rsp && top - then.rsp <= 64 * PAGE && top - then.rsp > 32 * PAGE);
    }
    if (fork() == 0) {
        handle(SIGSEGV, (void *)on_fault, SA_SIGINFO, 0);
        do_recurse(0);
        quit(1);
    }
    reap("overflow with one stack", -1);
    if (fork() == 0) {
        CALL(SYS_sigaltstack, NULL, &s);        /* the child has it too */
        CHECK(s.base == alternative_memory && s.flags == 0);
        quit(0);
    }
    reap("child", -1);
    CALL(SYS_sigaltstack, &none, NULL);
    CALL(SYS_sigaltstack, NULL, &s);
    print("flags %d\n", s.flags);
}

int main(int argc, char **argv) {
    (void)argc, (void)argv;
    apart();
    faults();
    registers();
    stacks();
    return 42;
}
