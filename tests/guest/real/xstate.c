/* XRSTOR, in many forms: what it brings back, and what it refuses.  Under ParaCell the kernel emulates it. */
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#define X87 1u
#define SSE 2u
#define COMPACT (1ull << 63)

struct area { unsigned char legacy[512]; uint64_t components, format, reserved[6]; unsigned char rest[4096 - 576]; };
struct area saved __attribute__((aligned(64)));
static struct area changed __attribute__((aligned(64)));

static double state[4];         /* st0, xmm0, xmm15, and what they were */
static uint32_t mxcsr;

static void look(const char *what) {
    printf("%-28s st0 %.3f xmm0 %.3f xmm15 %.3f mxcsr %x\n", what, state[0], state[1], state[2], mxcsr);
}

/* The instruction between a known state and a look at what it has become. */
#define RESTORE(what, instruction, mask, ...) do {                              \
    uint32_t before = 0x1fa0;                                                   \
    asm volatile("fninit; fldl %[seven]; movsd %[seven], %%xmm0; movsd %[seven], %%xmm15; ldmxcsr %[before];" \
                 instruction ";"                                                \
                 "fxsave64 %[fx]"                                               \
                 : [fx] "=m"(after) : [seven] "m"(seven), [before] "m"(before), "a"(mask), "d"(0), __VA_ARGS__ \
                 : "xmm0", "xmm15", "memory", "st", "r12", "r13");                            \
    show(what);                                                                 \
} while (0)

static unsigned char after[512] __attribute__((aligned(16)));
static double seven = 7;

static double st0(void) {
    long double x;
    memcpy(&x, after + 32, 10);
    return (double)x;
}

static void show(const char *what) {
    asm volatile("fninit; ldmxcsr %0" :: "m"((uint32_t){0x1f80}));
    state[0] = after[4] ? st0() : 0;            /* the tag word: is anything there? */
    memcpy(&state[1], after + 160, 8);
    memcpy(&state[2], after + 160 + 240, 8);
    memcpy(&mxcsr, after + 24, 4);
    look(what);
}

static void save(void) {
    static const double one = 1.5, two = 2.5, three = 3.5;
    uint32_t control = 0x1f90;
    asm volatile("fninit; fldl %1; movsd %2, %%xmm0; movsd %3, %%xmm15; ldmxcsr %4; xsave64 %0"
                 : "+m"(saved) : "m"(one), "m"(two), "m"(three), "m"(control), "a"(X87 | SSE), "d"(0) : "xmm0", "xmm15", "memory", "st");
    asm volatile("fninit; ldmxcsr %0" :: "m"((uint32_t){0x1f80}));
}

static sigjmp_buf back;
static void caught(int signal) { siglongjmp(back, signal); }

__attribute__((noinline)) static void restore_from(void *area, unsigned mask) {
    asm volatile("xrstor64 (%%rbx)" :: "b"(area), "a"(mask), "d"(0) : "memory", "xmm0", "xmm15", "st");
}

static void refused(const char *what, void *area, unsigned mask) {
    int signal = sigsetjmp(back, 1);
    if (!signal)
        restore_from(area, mask);
    asm volatile("fninit; ldmxcsr %0" :: "m"((uint32_t){0x1f80}));
    printf("%-28s signal %d\n", what, signal);
}

int main(void) {
    struct area *a = &saved;

    signal(SIGSEGV, caught);
    signal(SIGILL, caught);
    save();
    RESTORE("both", "xrstor64 (%%rbx)", X87 | SSE, "b"(a), "c"(0L));
    RESTORE("x87", "xrstor64 (%%rbx)", X87, "b"(a), "c"(0L));
    RESTORE("SSE", "xrstor (%%rbx)", SSE, "b"(a), "c"(0L));
    RESTORE("nothing", "xrstor (%%rbx)", 0, "b"(a), "c"(0L));
    RESTORE("base and 8 bits", "mov %%rbx, %%r13; xrstor 64(%%r13)", X87 | SSE, "b"((char *)a - 64), "c"(0L));
    RESTORE("base and 32 bits", "mov %%rbx, %%r12; xrstor -4096(%%r12)", X87 | SSE, "b"((char *)a + 4096), "c"(0L));
    RESTORE("base and index", "xrstor 64(%%rbx,%%rcx,8)", X87 | SSE, "b"((char *)a - 128), "c"(8L));
    RESTORE("index alone", "xrstor (,%%rcx,2)", X87 | SSE, "b"(0L), "c"((uintptr_t)a / 2));
    RESTORE("relative to RIP", "xrstor saved(%%rip)", X87 | SSE, "b"(0L), "c"(0L));

    changed = saved;
    changed.components = SSE;
    RESTORE("x87 as at the start", "xrstor64 (%%rbx)", X87 | SSE, "b"(&changed), "c"(0L));
    changed.components = 0;
    RESTORE("all as at the start", "xrstor64 (%%rbx)", X87 | SSE, "b"(&changed), "c"(0L));
    changed.format = COMPACT | X87 | SSE;
    RESTORE("the same, compacted", "xrstor64 (%%rbx)", X87 | SSE, "b"(&changed), "c"(0L));
    changed.components = X87 | SSE;
    RESTORE("compacted", "xrstor64 (%%rbx)", X87 | SSE, "b"(&changed), "c"(0L));

    changed = saved;
    refused("misaligned", (char *)&changed + 16, X87 | SSE);
    changed.components = 1ull << 62;
    refused("a component there is not", &changed, X87 | SSE);
    changed = saved;
    changed.reserved[2] = 1;
    refused("reserved bytes", &changed, X87 | SSE);
    changed.reserved[0] = 1;
    refused("the first of them", &changed, X87 | SSE);
    changed = saved;
    changed.format = COMPACT | X87 | SSE;
    changed.reserved[2] = 1;
    refused("reserved bytes, compacted", &changed, X87 | SSE);
    changed = saved;
    changed.format = X87;
    refused("a form without bit 63", &changed, X87 | SSE);
    changed.format = COMPACT | X87;
    refused("not in the form", &changed, X87 | SSE);
    changed = saved;
    memset(changed.legacy + 24, 0xff, 4);
    refused("reserved bits of MXCSR", &changed, SSE);
    refused("the same, not asked for", &changed, X87);
    char *hole = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    refused("nothing there", hole, SSE);
    return 0;
}
