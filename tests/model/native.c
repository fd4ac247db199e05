/* Runs encodings on this computer at ring 3, each in a child of its own, and prints what the signal said that ended it.
 *
 * A line in:   bits rip bytes-before-the-page's-end rsp fill code stack address-of-operand operand rax rcx rdx rbx rsi rdi r8 r9 r15
 * A line out:  vector error rip rsp cs cr2 rax rcx r8 r9, in hexadecimal; vector -1 without a signal
 */
#define _GNU_SOURCE
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#define PAGE 4096UL
#define CODE64 0x33
#define CODE32 0x23
#define DATA 0x2b
#define FLAGS 0xa02             /* OF, for INTO */
#define GENERAL 9               /* registers in a line */

typedef unsigned long word;

word registers[GENERAL], frame[5];
static char alternative[1 << 16];
static struct { long vector; word error, rip, rsp, cs, cr2, rax, rcx, r8, r9; } *seen;

/* FS may be gone: no library call, no thread-local variable. */
static void on_signal(int number, siginfo_t *info, void *context) {
    greg_t *g = ((ucontext_t *)context)->uc_mcontext.gregs;

    (void)number, (void)info;
    seen->vector = g[REG_TRAPNO], seen->error = (word)g[REG_ERR], seen->rip = (word)g[REG_RIP], seen->rsp = (word)g[REG_RSP];
    seen->cs = (word)g[REG_CSGSFS] & 0xffff, seen->cr2 = (word)g[REG_CR2], seen->rax = (word)g[REG_RAX];
    seen->rcx = (word)g[REG_RCX], seen->r8 = (word)g[REG_R8], seen->r9 = (word)g[REG_R9];
    __asm__ volatile("syscall" :: "a"(231), "D"(0) : "rcx", "r11");     /* exit_group */
}

static void map(word address, word pages, int rights) {
    mmap((void *)(address & ~(PAGE - 1)), pages * PAGE, rights, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
}

static void put(word address, const char *digits, word limit) {
    for (word i = 0; digits[2 * i] && i < limit; i++) {
        unsigned byte;
        sscanf(digits + 2 * i, "%2x", &byte);
        ((unsigned char *)address)[i] = (unsigned char)byte;
    }
}

__attribute__((noreturn)) static void go(int bits) {
    if (bits == 32)
        __asm__ volatile("mov %0, %%ds; mov %0, %%es; mov %0, %%fs; mov %0, %%gs" :: "r"(DATA));
    __asm__ volatile(
        "lea frame(%rip), %rsp\n lea registers(%rip), %r14\n"
        "mov (%r14), %rax\n mov 8(%r14), %rcx\n mov 16(%r14), %rdx\n mov 24(%r14), %rbx\n mov 32(%r14), %rsi\n"
        "mov 40(%r14), %rdi\n mov 48(%r14), %r8\n mov 56(%r14), %r9\n mov 64(%r14), %r15\n"
        "xor %ebp, %ebp\n xor %r10d, %r10d\n xor %r11d, %r11d\n xor %r12d, %r12d\n xor %r13d, %r13d\n xor %r14d, %r14d\n"
        "iretq");
    __builtin_unreachable();
}

int main(void) {
    static const int signals[] = {SIGSEGV, SIGILL, SIGTRAP, SIGBUS, SIGFPE, SIGSYS};
    static char line[4096], code[64], stack[256], operand[1300];
    stack_t place = {.ss_sp = alternative, .ss_size = sizeof alternative};
    struct sigaction action = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    word rip, there, rsp, fill, address;
    int bits, at, n;

    seen = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    while (fgets(line, sizeof line, stdin)) {
        sscanf(line, "%d %lx %lx %lx %lx %63s %255s %lx %1299s%n", &bits, &rip, &there, &rsp, &fill, code, stack, &address, operand, &at);
        for (int i = 0; i < GENERAL; i++, at += n)
            sscanf(line + at, "%lx%n", &registers[i], &n);
        memset(seen, 0, sizeof *seen);
        seen->vector = -1;
        fflush(stdout);
        if (fork() == 0) {
            map(rip, 1, PROT_READ | PROT_WRITE | PROT_EXEC);
            munmap((void *)((rip & ~(PAGE - 1)) + PAGE), PAGE);
            memset((void *)(rip & ~(PAGE - 1)), (int)fill, PAGE);
            put(rip, code, there);
            map(rsp - PAGE, 2, PROT_READ | PROT_WRITE);
            put(rsp, stack, sizeof stack);
            map(address, 1, PROT_READ | PROT_WRITE);
            put(address, operand, PAGE);
            sigaltstack(&place, NULL);
            for (unsigned i = 0; i < sizeof signals / sizeof *signals; i++)
                sigaction(signals[i], &action, NULL);
            alarm(2);
            memcpy(frame, (word[]){rip, bits == 64 ? CODE64 : CODE32, FLAGS, rsp, DATA}, sizeof frame);
            go(bits);
        }
        wait(NULL);
        printf("%ld %lx %lx %lx %lx %lx %lx %lx %lx %lx\n", seen->vector, seen->error, seen->rip, seen->rsp, seen->cs, seen->cr2,
               seen->rax, seen->rcx, seen->r8, seen->r9);
    }
    return 0;
}
