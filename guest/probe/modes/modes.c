/* Every case of cases.S in real mode, and in virtual-8086 mode with IOPL 0 and 3: what ended it, and the state behind it.
 * limits=1 takes those that reach beyond a segment instead. */
#include "modes.h"

#define RF 0x10000
#define IOPL_SHIFT 12
#define VALID_FLAGS 0x247fd7u   /* what the frame of an interrupt may show; not VM, RF, VIF and VIP */
#define GATE32 0xee00           /* present, DPL 3, a 32-bit interrupt gate */
#define WINDOW 64

static struct state *const before = (void *)(LOW + BEFORE_OFFSET);
static struct state *const after = (void *)(LOW + AFTER_OFFSET);
extern char real_stubs[];
u64 monitor_idt[GATES];

static void fill(u64 at, u64 size, u8 value) {
    for (volatile u8 *byte = (u8 *)at; size--;)
        *byte++ = value;
}

static void copy(u64 to, const void *from, u64 size) {
    const u8 *source = from;

    for (volatile u8 *byte = (u8 *)to; size--;)
        *byte++ = *source++;
}

static void outb(u16 port, u8 value) { asm volatile("outb %0, %1" :: "a"(value), "Nd"(port)); }

static void prepare_machine(void) {
    outb(0x21, 0xff);           /* a case may set IF: no device is to interrupt it */
    outb(0xa1, 0xff);
    copy(LOW, low_start, (u64)(low_end - low_start));
    for (u64 vector = 0; vector < GATES; vector++) {
        u64 real = (u64)(real_stubs - low_start) + vector * STUB_SIZE;
        u64 stub = (u64)monitor_stubs + vector * STUB_SIZE;

        *(volatile u32 *)(vector * 4) = (u32)(real | LOW_SELECTOR << 16);
        monitor_idt[vector] = (stub & 0xffff) | CODE32 << 16 | (u64)GATE32 << 32 | (stub >> 16) << 48;
    }
    fill(TSS_AT, TSS_SIZE - 1, 0);
    fill(TSS_AT + TSS_SIZE - 1, 1, 0xff);
    *(volatile u32 *)(TSS_AT + 4) = MONITOR_STACK;
    *(volatile u32 *)(TSS_AT + 8) = DATA32;
    *(volatile u16 *)(TSS_AT + 102) = 104;
    *(volatile u8 *)(TSS_AT + 104 + (0x81 >> 3)) = 1 << (0x81 & 7);
}

static void prepare_case(const u8 *code, u64 length, u64 iopl) {
    static const u16 words[] = {0x1122, 0x3344, 0x5566, 0x7788, 0x0010, 0x3002, 0x1234, 0x5678, 0x0110, 0x1000};

    fill(CODE_SELECTOR * 16 + CODE_AT, 256, 0xcc);
    copy(CODE_SELECTOR * 16 + CODE_AT, code, length);
    for (u64 segment = STACK_SELECTOR; segment <= EXTRA_SELECTOR; segment += 0x1000) {
        fill(segment * 16, WINDOW, 0);
        fill(segment * 16 + 0xffc0, WINDOW, 0);
    }
    fill(STACK_SELECTOR * 16 + STACK_TOP - 2 * WINDOW, 3 * WINDOW, 0);
    copy(DATA_SELECTOR * 16, words, sizeof words);
    copy(STACK_SELECTOR * 16, words, sizeof words);
    *(volatile u32 *)(CODE_SELECTOR * 16 + 0x180) = 0;
    *before = (struct state){
        .general = {0, 0, 0, 0, STACK_TOP, 0, 0, 0}, .eip = CODE_AT, .cs = CODE_SELECTOR, .eflags = (u32)(2 | iopl << IOPL_SHIFT),
        .es = EXTRA_SELECTOR, .ss = STACK_SELECTOR, .ds = DATA_SELECTOR, .fs = DATA_SELECTOR, .gs = DATA_SELECTOR,
    };
    *after = (struct state){.vector = 0};
}

static u64 digest(u64 at, u64 size, u64 hash) {
    for (volatile u8 *byte = (u8 *)at; size--;)
        hash = (hash ^ *byte++) * 0x100000001b3UL;
    return hash;
}

static void put(const char *name, u64 value) {
    put_string(name);
    put_hex(value);
}

static void print_outcome(u64 mode) {
    static const char *const names[] = {" a=", " c=", " d=", " b=", " sp=", " bp=", " si=", " di="};
    u64 hash = 0xcbf29ce484222325UL;

    put("v", after->vector);
    if (mode == V86)
        put(" e", after->error);
    put(" ip=", after->eip);
    put(" cs=", after->cs);
    put(" f=", after->eflags & VALID_FLAGS & (mode == REAL ? 0xffff : ~0u));
    for (u64 i = 0; i < COUNT(names); i++)
        if (after->general[i] != before->general[i])
            put(names[i], after->general[i]);
    put(" s=", after->es);
    put("/", after->ss);
    put("/", after->ds);
    put("/", after->fs);
    put("/", after->gs);
    for (u64 segment = DATA_SELECTOR; segment <= EXTRA_SELECTOR; segment += 0x1000) {
        hash = digest(segment * 16, WINDOW, hash);
        hash = digest(segment * 16 + 0xffc0, WINDOW, hash);
    }
    put(" m=", digest(CODE_SELECTOR * 16 + 0x180, 4, hash) & 0xffffff);
    put_char('\n');
}

static void run_case(const u8 *code, u64 length, const char *text, u64 mode, u64 iopl) {
    prepare_case(code, length, iopl);
    put_string(text);
    put_string(mode == REAL ? " | real: " : iopl ? " | v86/3: " : " | v86/0: ");
    enter_mode(mode);
    print_outcome(mode);
}

static u64 run_all(const u8 *at) {
    u64 count = 0;

    for (; *at; count++) {
        const u8 *code = at + 1;
        const char *text = (const char *)code + *at;

        run_case(code, *at, text, REAL, 0);
        run_case(code, *at, text, V86, 0);
        run_case(code, *at, text, V86, 3);
        for (at = (const u8 *)text; *at++;)
            ;
    }
    return count;
}

void bare_main(void) {
    u64 count;

    console_init();
    prepare_machine();
    count = option("limits", 0) ? run_all(limit_cases) : run_all(cases);
    put_string("modes: ");
    put_number(count);
    put_string(" cases\n");
    leave(0);
}
