/* A container kernel that attacks its host, and through it the container beside it.
 * Which attack: attack=NAME on the command line, or else its first argument; at=ADDRESS is what it is after, in hexadecimal. */
#include "hostile.h"

#include "lib/string.h"
#include "platform/entry.h"
#include "selectors.h"
#include "x86.h"

#define IN_A_PAGE __attribute__((aligned(256)))  /* as the host wants a frame to lie */
#define SECRETS 0x5ec2e7c0ffeeUL        /* how every secret here begins */

extern struct xgate_vcpu hostile_vcpu;
extern char stack_top[];

struct gk_boot *boot;
u64 target;

void say(const char *s) { hypercall(HC_CONSOLE_WRITE, 1, (u64)s, strlen(s), 0); }
void end(int status) { hypercall(HC_EXIT, (u64)status, 0, 0, 0); }

void say_number(u64 value) {
    static char text[18];
    for (int i = 0; i < 16; i++)
        text[i] = "0123456789abcdef"[value >> (60 - 4 * i) & 15];
    text[16] = '\n';
    say(text);
}

void nap(u64 ms) {
    u64 until = rdtsc() + ms * ((u64)hypercall(HC_HZ, 0, 0, 0, 0) / 1000);

    while (rdtsc() < until) {           /* another interrupt may come first */
        hypercall(HC_TIMER, until, 0, 0, 0);
        hypercall(HC_WAIT, 0, 0, 0, 0);
    }
}

static void loot(u64 value) {
    say("read ");
    say_number(value);
}

void look(u64 value) {
    if (value >> 16 != SECRETS)
        return;
    loot(value);
    end(0);
}

void tell(const char *what, i64 value) {
    say(what);
    say(" ");
    say_number((u64)value);
}

u64 space_in_use(void) {
    u64 space = (u64)hypercall(HC_AS_CREATE, 0, 0, 0, 0);

    hypercall(HC_AS_SWITCH, space, 0, 0, 0);
    return space;
}

i64 user_page(u64 space, u64 va, u64 gpa, u64 rights) {
    static u64 entry;
    entry = gpa | rights;
    return hypercall(HC_PTE_SET, space, va, (u64)&entry, 1);
}

/* Run some machine code as container user. */
static void run_user(const u8 *code, u64 n, const struct trapframe *changes) {
    static struct trapframe frame IN_A_PAGE;
    u64 space = (u64)hypercall(HC_AS_CREATE, 0, 0, 0, 0), gpa = boot->free_start;
    u8 *page = (u8 *)(GK_DIRECT + gpa);

    for (u64 i = 0; i < n; i++)
        page[i] = code[i];
    hypercall(HC_AS_SWITCH, space, 0, 0, 0);
    user_page(space, USER, gpa, CODE);
    hostile_vcpu.stack = (u64)stack_top;
    hostile_vcpu.pkru = PKRU_USER;
    frame = *changes;
    frame.rip = frame.rip ? frame.rip : USER;
    frame.rsp = USER + 4096;
    hypercall(HC_RETURN, (u64)&frame, 0, 0, 0);
}

/* ---- the attacks ---- */

static void bad_number(void) { hypercall(0x10000, 0, 0, 0, 0); }
static void bad_handle(void) { user_page(77, USER, boot->free_start, DATA); }

/* Every page of the host's memory, one after the other, by its host-physical address. */
static void others_pages(void) {
    u64 space = space_in_use();

    for (u64 page = boot->free_start; page < 2 * boot->memory; page += 4096) {
        user_page(space, USER, page, DATA);
        volatile u64 *word = (volatile u64 *)USER;
        if (*word >> 16 == SECRETS)
            loot(*word);
    }
}

/* A page of one's own in the place of the host's. */
static void hosts_half(void) {
    u64 space = space_in_use();

    user_page(space, target & ~4095UL, boot->free_start, DATA);
}

/* The same with a return, which takes entries as well. */
static void hosts_half_by_return(void) {
    static struct trapframe frame IN_A_PAGE = {.cs = USER_CS, .ss = USER_SS, .rflags = 2};
    static pte_t entry;
    u64 space = space_in_use();

    entry = boot->free_start | DATA;
    hostile_vcpu.stack = (u64)stack_top;
    hypercall5(HC_RETURN, (u64)&frame, space, target & ~4095UL, (u64)&entry, 1);
}

static void hosts_pointer(void) { hypercall(HC_CONSOLE_WRITE, 1, target, 8, 0); }
static void hosts_frame(void) { hypercall(HC_RETURN, target, 0, 0, 0); }

/* An event is pushed where the stack is said to be. */
static void hosts_stack(void) {
    static const u8 code[] = {0x0f, 0x0b};      /* ud2 */
    hostile_vcpu.stack = (u64)stack_top;
    static struct trapframe frame IN_A_PAGE = {.cs = USER_CS, .ss = USER_SS, .rflags = 2, .rip = USER};
    u64 space = (u64)hypercall(HC_AS_CREATE, 0, 0, 0, 0);
    u8 *page = (u8 *)(GK_DIRECT + boot->free_start);
    page[0] = code[0], page[1] = code[1];
    hypercall(HC_AS_SWITCH, space, 0, 0, 0);
    user_page(space, USER, boot->free_start, CODE);
    hostile_vcpu.pkru = PKRU_USER;
    hostile_vcpu.stack = target + sizeof(struct trapframe);
    hypercall(HC_RETURN, (u64)&frame, 0, 0, 0);
}

static void not_canonical(void) {
    run_user((const u8 *)"\xf4", 1, &(struct trapframe){.cs = USER_CS, .ss = USER_SS, .rflags = 2, .rip = 1UL << 63});
}

/* What the host may do by SYSRET, for the frame says that RCX and R11 are lost. */
static void not_canonical_by_sysret(void) {
    run_user((const u8 *)"\xf4", 1,
             &(struct trapframe){.cs = USER_CS, .ss = USER_SS, .rflags = 2, .rip = 1UL << 63, .vector = VEC_SYSCALL});
}

/* IOPL 3, and an OUT that ends the machine. */
static void bad_flags(void) {
    static const u8 code[] = {0xba, 0xf4, 0, 0, 0, 0xb8, 0x55, 0, 0, 0, 0xef, 0xeb, 0xfe};  /* mov $0xf4, %edx; mov $0x55, %eax; out */
    run_user(code, sizeof code, &(struct trapframe){.cs = USER_CS, .ss = USER_SS, .rflags = 0x3002});
}

static void bad_selectors(void) {
    run_user((const u8 *)"\xf4", 1, &(struct trapframe){.cs = 0x08, .ss = 0x10, .rflags = 2});
}

static void endless(void) {
    for (;;)
        ;
}

/* All memory that is ours by right, as somebody else left it. */
static void leftovers(void) {
    for (u64 page = ROUND_UP(boot->free_start, 4096); page < boot->memory; page += 4096)
        for (u64 i = 0; i < 512; i += 8) {
            u64 word = ((volatile u64 *)(GK_DIRECT + page))[i];
            if (word >> 32 == SECRETS >> 16 && word != 0) {
                loot(word);
                end(0);
            }
        }
    say("nothing left over\n");
    end(1);
}

/* Page tables for address after address, until there is no memory. */
static void glutton(void) {
    u64 space = (u64)hypercall(HC_AS_CREATE, 0, 0, 0, 0);

    for (u64 va = 0; va < 0x7f0000000000 && !user_page(space, va, boot->free_start, DATA); va += 1UL << 21)
        ;
    nap(100);                           /* and holds them */
}

/* What was mapped, unmapped, and is used all the same. */
static void stale(void) {
    u64 space = (u64)hypercall(HC_AS_CREATE, 0, 0, 0, 0);
    volatile u64 *word = (volatile u64 *)USER;

    hostile_vcpu.stack = (u64)stack_top;
    hypercall(HC_AS_SWITCH, space, 0, 0, 0);
    user_page(space, USER, boot->free_start, DATA);
    *word = SECRETS << 16 | 3;
    user_page(space, USER, 0, 0);
    loot(*word);
    end(0);
}

/* Pages that are mapped, given back, and looked at once somebody else has them. */
static void mapped(void) {
    static u64 entries[HC_LIMIT];       /* quick enough for one slice, before the other one has begun */
    u64 space = (u64)hypercall(HC_AS_CREATE, 0, 0, 0, 0), count = HC_LIMIT, page = ROUND_UP(boot->free_start, 4096);

    for (u64 i = 0; i < count; i++)
        entries[i] = (page + i * 4096) | DATA;
    hypercall(HC_AS_SWITCH, space, 0, 0, 0);
    hypercall(HC_PTE_SET, space, USER, (u64)entries, count);
    for (u64 i = 0; i < count; i++)
        hypercall(HC_UNBIND, page + i * 4096, 0, 0, 0);
    for (int round = 0; round < 20; round++) {
        nap(1);
        for (u64 i = 0; i < count * 512; i++)
            look(((volatile u64 *)USER)[i]);
    }
}

static const struct { const char *name; void (*run)(void); } attacks[] = {
    {"number", bad_number}, {"handle", bad_handle}, {"pages", others_pages}, {"half", hosts_half},
    {"return", hosts_half_by_return}, {"sysret", not_canonical_by_sysret}, {"pointer", hosts_pointer}, {"frame", hosts_frame}, {"hoststack", hosts_stack}, {"canonical", not_canonical},
    {"flags", bad_flags}, {"selectors", bad_selectors}, {"endless", endless}, {"leftovers", leftovers},
    {"glutton", glutton}, {"stale", stale}, {"mapped", mapped},
    /* memory.c */
    {"unbind", memory_unbind}, {"quota", memory_quota}, {"reclaim", memory_reclaim},
    {"lend", memory_lend}, {"keep", memory_keep}, {"borrow", memory_borrow},
    /* pager.c */
    {"pager-requests", pager_requests}, {"pager-limit", pager_limit}, {"pager-stale", pager_stale},
    {"pager-mapped", pager_mapped}, {"pager-leftovers", pager_leftovers},
    {"pager-twice", pager_twice}, {"pager-unbound", pager_unbound}, {"pager-overlap", pager_overlap},
    {"pager-behind", pager_behind}, {"pager-across", pager_across}, {"pager-order", pager_order},
    {"pager-bits", pager_bits}, {"pager-crooked", pager_crooked}, {"pager-image", pager_image},
    {"pager-module", pager_module}, {"pager-too-long", pager_too_long}, {"pager-no-list", pager_no_list},
    {"pager-crooked-list", pager_crooked_list}, {"pager-hosts-list", pager_hosts_list}, {"pager-touched", pager_touched},
    {"pager-in-use", pager_in_use}, {"pager-shown", pager_shown},
    /* balloon.c */
    {"balloon-requests", balloon_requests}, {"balloon-features", balloon_features}, {"balloon-reports", balloon_reports},
    {"balloon-changing", balloon_changing}, {"balloon-stale", balloon_stale}, {"balloon-stale-report", balloon_stale_report},
    {"balloon-mapped", balloon_mapped}, {"balloon-leftovers", balloon_leftovers}, {"balloon-others", balloon_others},
    {"balloon-ring", balloon_ring}, {"balloon-behind", balloon_behind}, {"balloon-far", balloon_far},
    {"balloon-twice", balloon_twice}, {"balloon-not-in", balloon_not_in}, {"balloon-image", balloon_image},
    {"balloon-module", balloon_module}, {"balloon-its-queue", balloon_its_queue}, {"balloon-touched", balloon_touched},
    {"balloon-shown", balloon_shown}, {"balloon-in-use", balloon_in_use}, {"balloon-odd", balloon_odd},
    {"balloon-written", balloon_written}, {"balloon-order", balloon_order}, {"balloon-loop", balloon_loop},
    {"balloon-indirect", balloon_indirect}, {"balloon-next", balloon_next}, {"balloon-head", balloon_head},
    {"balloon-wild", balloon_wild}, {"balloon-backwards", balloon_backwards}, {"balloon-outside", balloon_outside},
    {"balloon-wraps", balloon_wraps}, {"balloon-itself", balloon_itself}, {"balloon-crooked-report", balloon_crooked_report},
    {"balloon-read-report", balloon_read_report}, {"balloon-queue-report", balloon_queue_report},
    {"balloon-far-report", balloon_far_report}, {"balloon-mapped-report", balloon_mapped_report},
    {"balloon-crooked-huge", balloon_crooked_huge}, {"balloon-cut-huge", balloon_cut_huge},
    {"balloon-busy-huge", balloon_busy_huge},
    /* random.c */
    {"random-requests", random_requests}, {"random-neighbour", random_neighbour},
    /* script.c */
    {"script", script_begin},
    /* llfree.c */
    {"llfree-requests", llfree_requests}, {"llfree-words", llfree_words}, {"llfree-mapped", llfree_mapped},
    {"llfree-leftovers", llfree_leftovers}, {"llfree-outside", llfree_bad_outside}, {"llfree-across", llfree_bad_across},
    {"llfree-odd", llfree_bad_odd}, {"llfree-size", llfree_bad_size}, {"llfree-huge", llfree_bad_huge},
    {"llfree-twice", llfree_bad_twice}, {"llfree-behind", llfree_bad_behind}, {"llfree-touched", llfree_bad_touched},
    {"llfree-shown", llfree_bad_shown}, {"llfree-cleared", llfree_bad_cleared}, {"llfree-used", llfree_bad_used},
};

void hostile_event(struct trapframe *tf, u64 address) {
    (void)address;
    if (tf->vector >= VEC_IRQ0)         /* an interrupt: not what we wait for */
        hypercall(HC_RETURN, (u64)tf, 0, 0, 0);
    if (scripted)
        script_go_on();
    say("refused: an event\n");
    end(1);
}

/* The value of `name` on the command line, or NULL. */
static const char *option(const char *name) {
    for (const char *at = boot->cmdline; *at; at++) {
        u64 n = 0;
        while (name[n] && at[n] == name[n])
            n++;
        if (!name[n] && (at == boot->cmdline || at[-1] == ' '))
            return at + n;
    }
    return "";
}

static bool is(const char *word, const char *name) {
    while (*name && *word == *name)
        word++, name++;
    return !*name && (!*word || *word == ' ');
}

/* Of the program that another kernel would run: behind the numbers of arguments and variables. */
static const char *first_argument(void) {
    const char *s = (const char *)GK_DIRECT + boot->init;

    s += strlen(s) + 1;
    return s + strlen(s) + 1;
}

void hostile_main(struct gk_boot *b) {
    boot = b;
    for (const char *s = option("at="); *s && *s != ' '; s++)
        target = target << 4 | (u64)(*s <= '9' ? *s - '0' : *s - 'a' + 10);
    const char *which = *option("attack=") ? option("attack=") : first_argument();
    for (u64 i = 0; i < COUNT(attacks); i++)
        if (is(which, attacks[i].name))
            attacks[i].run();
    say("refused: nothing came of it\n");
    end(1);
}
