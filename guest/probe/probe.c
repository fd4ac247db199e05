/* The probe: random page tables, controls, keys and accesses from a seed; what was asked and what happened, a line each.
 *
 *   r CONTROL PKRS LINEAR PML4E PDPTE PDE PTE     a round: tables and registers, all in hexadecimal, as they are at first
 *   KMA PKRU = HAPPENED AD [!WHAT]                an access of the round; between accesses nothing is flushed
 *
 * K: r read, w write, x execute, i implicit read, j implicit read and write.  M: s, u.  A: a with RFLAGS.AC, else -.
 * HAPPENED: ok, pf and the error code, or v VECTOR.ERROR.  AD: for PML4E to PTE, A + 2 D.  !: wrong data, RIP or CR2.
 *
 * Command line: seed=N, count=N accesses, quiet=1 prints a hash of every 1000 accesses instead, implicit=1 makes implicit
 * accesses in ring 0 with AC set as well (SMAP forbids them; QEMU lets them pass). */
#include "bare.h"

#define FRAMES 12
#define CELL 64
#define CELLS (4096 / CELL)
#define ACCESSES 4              /* in each round */
#define OFFSETS 0x3fffffffUL    /* linear bits that are an offset in a 1-GiB page */

struct cell {
    u8 code[16];                /* INT $0x20 */
    u32 marker, pad1[3];        /* to read */
    u32 word, pad2[3];          /* to write */
    u64 descriptors[2];         /* with and without the accessed bit */
};
_Static_assert(sizeof(struct cell) == CELL, "a cell");

#define DESCRIPTOR 0x00cff3000000ffffUL         /* data, DPL 3, accessed */
#define ACCESSED (1UL << 40)

static struct cell frames[FRAMES][CELLS] __attribute__((aligned(4096)));
static u64 tables[3][512] __attribute__((aligned(4096)));       /* PDPT, PD, PT */
static u64 *entries[4];                                         /* PML4E to PTE of the round */
static u64 random_state;
static u32 has;

/* ---- randomness: xorshift64 ---- */

static u64 next(void) {
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

static int chance(u32 of16) { return (next() >> 33 & 15) < of16; }

/* ---- a round's tables ---- */

static void fill_frames(void) {
    for (u32 f = 0; f < FRAMES; f++)
        for (u32 c = 0; c < CELLS; c++) {
            struct cell *cell = &frames[f][c];
            cell->code[0] = 0xcd;
            cell->code[1] = VECTOR_DONE;
            cell->marker = 0x5eed0000 | f << 8 | c;
            cell->descriptors[0] = DESCRIPTOR;
            cell->descriptors[1] = DESCRIPTOR & ~ACCESSED;
        }
}

/* Flags of an entry: mostly permissive, so that a walk gets far; ignored bits at random. */
static u64 random_flags(void) {
    u64 flags = next() & (ENTRY_A | ENTRY_D | 1UL << 8 | 7UL << 9 | 0x7ffUL << 52);

    flags |= chance(15) ? ENTRY_P : 0;
    flags |= chance(12) ? ENTRY_RW : 0;
    flags |= chance(11) ? ENTRY_US : 0;
    flags |= chance(1) ? ENTRY_XD : 0;
    return flags;
}

/* Choose a linear address for `target`: its low 30 bits follow, so that a page of any size can map it. */
static u64 random_tables(u64 target) {
    u64 above = next() >> 16 & (1UL << 18) - 1;         /* PML4 and PDPT indexes */
    u64 linear, page = 0;

    while (above >> 9 < 2)                              /* these hold the image and the user window */
        above = next() >> 16 & (1UL << 18) - 1;
    linear = (u64)((long)(above << 46) >> 16) | (target & OFFSETS);
    for (int i = 0; i < 4; i++) {
        int shift = 39 - 9 * i;
        u64 *table = i ? tables[i - 1] : top_table();
        u64 flags = random_flags(), base = i < 3 ? (u64)tables[i] : 0;

        entries[i] = table + (linear >> shift & 511);
        if (i == 3)
            base = target & ~0xfffUL;
        else if (i && chance(i + 1)) {
            flags |= ENTRY_PS;
            page = target & ~((1UL << shift) - 1);
            base = page | (chance(1) ? 1UL << 13 : 0);  /* reserved in a large page */
        } else if (!i && chance(1) && chance(8))
            flags |= ENTRY_PS;                          /* reserved in a PML4E */
        *entries[i] = base | flags;
    }
    return linear;
}

/* ---- printing: lines, or their hash ---- */

static int quiet;
static u64 hash = 14695981039346656037UL;
static char line[160];
static u64 length;

static void say(char c) { line[length++] = c; }

static void say_hex(u64 value, int digits) {
    while (digits < 16 && value >> 4 * digits)
        digits++;
    while (digits--)
        say("0123456789abcdef"[value >> 4 * digits & 15]);
}

static void end_line(void) {
    say('\n');
    for (u64 i = 0; i < length; i++)
        if (quiet)
            hash = (hash ^ (u8)line[i]) * 1099511628211UL;
        else
            put_char(line[i]);
    length = 0;
}

static void say_round(u32 control, u32 pkrs, u64 linear) {
    say('r');
    say(' '), say_hex(control, 1);
    say(' '), say_hex(pkrs, 1);
    say(' '), say_hex(linear, 1);
    for (int i = 0; i < 4; i++)
        say(' '), say_hex(*entries[i], 1);
    end_line();
}

static void say_access(enum kind kind, int user, int ac, u32 pkru) {
    say("rwxij"[kind]);
    say(user ? 'u' : 's');
    say(ac ? 'a' : '-');
    say(' '), say_hex(pkru, 1);
    say(' '), say('='), say(' ');
    if (outcome.vector == VECTOR_DONE)
        say('o'), say('k');
    else if (outcome.vector == VECTOR_PF)
        say('p'), say('f'), say_hex(outcome.error, 2);
    else
        say('v'), say_hex(outcome.vector, 1), say('.'), say_hex(outcome.error, 1);
    say(' ');
    for (int i = 0; i < 4; i++)
        say("0123"[*entries[i] >> 5 & 3]);
}

static void say_wrong(char what, u64 value) {
    say(' '), say('!'), say(what);
    say_hex(value, 1);
}

/* ---- accesses ---- */

static u64 offset_of(enum kind kind) {
    switch (kind) {
    case READ: return __builtin_offsetof(struct cell, marker);
    case WRITE: return __builtin_offsetof(struct cell, word);
    case EXECUTE: return 0;
    case IMPLICIT_READ: return __builtin_offsetof(struct cell, descriptors[0]);
    default: return __builtin_offsetof(struct cell, descriptors[1]);
    }
}

static enum kind random_kind(void) {
    static const u8 kinds[16] = {
        READ, READ, READ, READ, READ, WRITE, WRITE, WRITE, WRITE, WRITE, EXECUTE, EXECUTE, EXECUTE, EXECUTE,
        IMPLICIT_READ, IMPLICIT_WRITE,
    };
    return kinds[next() >> 30 & 15];
}

/* Does memory hold what it should, seen from its other side? */
static void check(enum kind kind, int user, u64 address, struct cell *cell, u32 before, u32 value) {
    int done = outcome.vector == VECTOR_DONE;
    u64 accessed = cell->descriptors[1] & ACCESSED;

    if (kind == READ && done && (u32)outcome.value != cell->marker)
        say_wrong('d', outcome.value);
    if (kind == WRITE && cell->word != (done ? value : before))
        say_wrong('d', cell->word);
    if (kind == IMPLICIT_WRITE && (accessed != 0) != done)
        say_wrong('d', accessed);
    if (!rip_is_right(kind, user, address))
        say_wrong('p', outcome.rip);
    /* The accessed bit of a descriptor may be written with its byte, its half or all of it. */
    if (outcome.vector == VECTOR_PF && (fault_address() ^ address) & (kind == IMPLICIT_WRITE ? ~7UL : ~0UL))
        say_wrong('c', fault_address());
    cell->descriptors[1] &= ~ACCESSED;
}

static void probe(u64 linear, struct cell *cell, u32 control, int implicit) {
    enum kind kind = random_kind();
    int user = chance(8), ac = chance(5);
    u32 pkru = (u32)(next() >> 20) & (u32)(next() >> 20);
    u32 before = cell->word, value = (u32)next();
    u64 address = linear + offset_of(kind);

    if (kind >= IMPLICIT_READ && !user && !implicit)
        ac = 0;
    if (control & CONTROL_PKE)
        set_pkru(pkru);
    else
        pkru = 0;
    attempt(kind, user, ac, address, value);
    say_access(kind, user, ac, pkru);
    check(kind, user, address, cell, before, value);
    end_line();
}

static void round(int implicit) {
    struct cell *cell = &frames[(next() >> 20 & 0xffff) % FRAMES][next() >> 20 & (CELLS - 1)];
    u64 linear = random_tables((u64)cell);
    u32 control = (u32)(next() >> 20) & has;
    u32 pkrs = control & CONTROL_PKS ? (u32)(next() >> 20) & (u32)(next() >> 20) & ~3u : 0;

    set_control(control);
    if (has & CONTROL_PKS)
        set_pkrs(pkrs);
    flush();
    say_round(control, pkrs, linear);
    for (int i = 0; i < ACCESSES; i++)
        probe(linear, cell, control, implicit);
    *entries[0] = 0;
}

void bare_main(void) {
    u64 count, done = 0;
    int implicit;

    console_init();
    has = machine_init();
    count = option("count", 1000);
    quiet = (int)option("quiet", 0);
    implicit = (int)option("implicit", 0);
    random_state = (option("seed", 1) + 1) * 0x9e3779b97f4a7c15UL;
    fill_frames();
    put_string("probe: controls ");
    put_hex(has);
    put_char('\n');
    while (done < count) {
        round(implicit);
        done += ACCESSES;
        if (quiet && done % 1000 == 0) {
            put_hex(hash);
            put_char('\n');
        }
    }
    put_string("probe: ");
    put_number(done);
    put_string(" accesses\n");
    leave(0);
}
