/* Permutations of one-bit conditions: each case is one access, checked against a model written here.
 *
 * Command line: count=N, about as many cases, spread evenly over all (the conditions at the end of the list change slowly); strict=1
 * insists on P in the error code of a reserved bit, which QEMU leaves out.  Prints the number of cases and of failures, and the
 * first failures in full; the exit status is 1 if there were any. */
#include "bare.h"
#include "model.h"

#define FAILURES_SHOWN 10
#define LARGE_PAGE (1UL << 21)
#define WINDOW (5UL << 39)              /* the linear addresses under test */
#define KEY 3
#define LEGAL_CASES 56033280UL          /* on a processor with everything */

static u64 pdpt[512] __attribute__((aligned(4096)));
static u64 directory[512] __attribute__((aligned(4096)));
static u64 table[512] __attribute__((aligned(4096)));
static u8 frames[2][4096] __attribute__((aligned(4096)));       /* one holds code, one data */
static u32 has;

static const char *const names[CONDITIONS] = {
#define NAME(id, name) name,
    EACH_CONDITION(NAME)
#undef NAME
};

static u64 entry_bits(u32 c, const u32 *bit) {
    static const u64 flags[6] = {ENTRY_P, ENTRY_RW, ENTRY_US, ENTRY_A, ENTRY_D, ENTRY_XD};
    u64 entry = 0;
    for (u32 i = 0; i < COUNT(flags); i++)
        entry |= c >> bit[i] & 1 ? flags[i] : 0;
    return entry;
}

static const u32 pte_bits[6] = {PTE_P, PTE_RW, PTE_USER, PTE_A, PTE_D, PTE_NX};
static const u32 pde_bits[6] = {PDE_P, PDE_RW, PDE_USER, PDE_A, PDE_D, PDE_NX};

/* Worth a case, and possible on this processor? */
static int legal(u32 c) {
    u32 reserved;

    if (IS(c, FETCH) && IS(c, WRITE_ACCESS))
        return 0;
    if (IS(c, PDE_13) && !IS(c, PDE_PSE))
        return 0;
    if (!IS(c, PKE) && (IS(c, PKRU_AD) || IS(c, PKRU_WD)))
        return 0;
    if (IS(c, AC) && !IS(c, SMAP))
        return 0;
    if ((IS(c, PKE) && !(has & CONTROL_PKE)) || (IS(c, SMEP) && !(has & CONTROL_SMEP)) || (IS(c, SMAP) && !(has & CONTROL_SMAP)))
        return 0;
    reserved = IS(c, PDE_13) + (!IS(c, NXE) && IS(c, PDE_NX)) + (!IS(c, NXE) && IS(c, PTE_NX));
    return reserved <= 1;       /* two say no more than one */
}

static void set_registers(u32 c) {
    u32 rights = (IS(c, PKRU_AD) ? 1 : 0) | (IS(c, PKRU_WD) ? 2 : 0);

    set_control((IS(c, WP) ? CONTROL_WP : 0) | (IS(c, NXE) ? CONTROL_NXE : 0) | (IS(c, PKE) ? CONTROL_PKE : 0) |
                (IS(c, SMEP) ? CONTROL_SMEP : 0) | (IS(c, SMAP) ? CONTROL_SMAP : 0));
    if (IS(c, PKE))
        set_pkru(rights << 2 * KEY | 3u << 2 * (KEY + 4));      /* KEY + 4 stands in the PDE, where it is ignored */
}

/* Put up the tables for a case; give the addresses of PDE and PTE. */
static void set_tables(u32 c, u64 linear, u64 target, u64 **pde, u64 **pte) {
    u64 key = IS(c, PKEY) ? ENTRY_KEY(KEY) : 0;

    *pde = &directory[linear >> 21 & 511];
    *pte = &table[linear >> 12 & 511];
    pdpt[linear >> 30 & 511] = (u64)directory | ENTRY_P | ENTRY_US | (IS(c, PDPTE_RO) ? 0 : ENTRY_RW);
    **pde = entry_bits(c, pde_bits) | (IS(c, PDE_13) ? 1UL << 13 : 0);
    **pde |= IS(c, PDE_PSE) ? (target & ~(LARGE_PAGE - 1)) | ENTRY_PS | key : (u64)table | (key ? ENTRY_KEY(KEY + 4) : 0);
    **pte = entry_bits(c, pte_bits) | target | key;
    asm volatile("invlpg (%0)" :: "r"(linear) : "memory");
}

static void show(u32 c, const char *what, u64 got, u64 expected) {
    for (int i = 0; i < CONDITIONS; i++)
        if (IS(c, i)) {
            put_string(names[i]);
            put_char(' ');
        }
    put_string(what);
    put_char(' ');
    put_hex(got);
    put_string(" expected ");
    put_hex(expected);
    put_char('\n');
}

/* Do one case; 1 if it went as the model says. */
static int try_case(u32 c, int strict, int silent) {
    u64 target = (u64)frames[IS(c, FETCH) ? 0 : 1], linear = WINDOW | (target & (LARGE_PAGE - 1));
    enum kind kind = IS(c, FETCH) ? EXECUTE : IS(c, WRITE_ACCESS) ? WRITE : READ;
    struct expected e = {0, 0, 0};
    u64 *pde, *pte, before_pde, before_pte, error;

    set_registers(c);
    set_tables(c, linear, target, &pde, &pte);
    before_pde = *pde;
    before_pte = *pte;
    if (IS(c, TWICE)) {         /* a first read by ring 0, whatever comes of it */
        model(c & ~(1u << FETCH | 1u << WRITE_ACCESS | 1u << USER), &e);
        attempt(READ, 0, IS(c, AC), linear, 0);
    }
    model(c, &e);
    e.pde |= before_pde;
    e.pte |= before_pte;
    attempt(kind, IS(c, USER), IS(c, AC), linear, 0);

    error = outcome.vector == VECTOR_DONE ? NO_FAULT : outcome.vector == VECTOR_PF ? outcome.error : ~outcome.vector;
    if (!strict && e.error != NO_FAULT && (e.error & PF_RSVD))
        error |= PF_P;
    if (error == e.error && *pde == e.pde && *pte == e.pte)
        return 1;
    if (!silent && error != e.error)
        show(c, "error code", error, e.error);
    if (!silent && *pde != e.pde)
        show(c, "pde", *pde, e.pde);
    if (!silent && *pte != e.pte)
        show(c, "pte", *pte, e.pte);
    return 0;
}

void bare_main(void) {
    u64 count, failed = 0, done = 0, step;
    int strict;

    console_init();
    has = machine_init();
    count = option("count", 20000);
    strict = (int)option("strict", 0);
    step = LEGAL_CASES / count | 1;
    top_table()[WINDOW >> 39 & 511] = (u64)pdpt | ENTRY_P | ENTRY_RW | ENTRY_US;
    frames[0][0] = 0xcd;        /* INT $0x20 */
    frames[0][1] = VECTOR_DONE;
    for (u64 c = 0; c < 1UL << CONDITIONS && done < count; c += step) {
        if (!legal((u32)c))
            continue;
        failed += !try_case((u32)c, strict, failed >= FAILURES_SHOWN);
        done++;
    }
    put_string("permute: ");
    put_number(done);
    put_string(" cases, ");
    put_number(failed);
    put_string(" failed\n");
    leave(failed != 0);
}
