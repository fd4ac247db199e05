/* Guest-physical to host-physical: a page is bound when the guest first touches it.
 * Source: SDM volume 3, "The Extended Page Table Mechanism (EPT)". */
#include "options.h"
#include "pte.h"
#include "runv.h"

#define EPT_ALLOWED 7UL                         /* read, write, execute */
#define EPT_LARGE (1UL << 7)
#define EPT_WRITE_BACK (6UL << 3)               /* of a leaf: the memory type */
#define EPTP_WRITE_BACK 6UL
#define EPTP_LEVELS ((TABLE_LEVELS - 1UL) << 3)

u64 ept_pointer(const struct vcpu *v) { return ((u64)v->ept - KERNEL_BASE) | EPTP_WRITE_BACK | EPTP_LEVELS; }

static u64 roots[MAX_RUNNING][TABLE_ENTRIES] __attribute__((aligned(4096)));

/* A slot keeps its root, as it keeps its VPID: what the one before had must leave the TLB. */
void ept_create(struct vcpu *v) {
    v->ept = roots[self->slot];
    memset(v->ept, 0, PAGE_SIZE);
    if (!OFF(invept)) {
        invept(ept_pointer(v));
        invvpid((u64)self->slot + 1);
    }
}

static void free_below(u64 *table, int level) {
    for (u64 *entry = table; level > 1 && entry < table + TABLE_ENTRIES; entry++)
        if (*entry && !(*entry & EPT_LARGE)) {
            free_below(host(*entry & PTE_ADDRESS), level - 1);
            page_free(host(*entry & PTE_ADDRESS));
        }
}

void ept_destroy(struct vcpu *v) {
    if (v->ept)
        free_below(v->ept, TABLE_LEVELS);
}

/* A table in place of an entry: empty, or with the pages that a large one maps; false without memory. */
static bool make_table(u64 *entry) {
    u64 *table = page_alloc(), first = *entry;

    if (!table)
        return false;
    for (u64 i = 0; first && i < TABLE_ENTRIES; i++)
        table[i] = (first & ~EPT_LARGE) + (i << PAGE_SHIFT);
    *entry = host_physical(table) | EPT_ALLOWED;
    return true;
}

/* The entry of an address at a level, its tables made if missing; NULL without memory. */
static u64 *entry_of(u64 *table, u64 gpa, int leaf) {
    for (int level = TABLE_LEVELS; level > leaf; level--) {
        u64 *entry = &table[level_index(gpa, level)];
        if ((!*entry || *entry & EPT_LARGE) && !make_table(entry))
            return NULL;
        table = host(*entry & PTE_ADDRESS);
    }
    return &table[level_index(gpa, leaf)];
}

bool ept_map(u64 gpa, u64 hpa) {
    u64 *leaf = entry_of(self->vcpu.ept, gpa, 1);

    if (leaf)
        *leaf = hpa | EPT_WRITE_BACK | EPT_ALLOWED;
    return leaf;
}

bool ept_map_large(u64 gpa, u64 hpa) {
    u64 *leaf = entry_of(self->vcpu.ept, gpa, 2);

    if (!leaf)
        return false;
    if (*leaf) {                        /* a table, of what was bound in pieces once; the processor may have its address */
        page_free(host(*leaf & PTE_ADDRESS));
        *leaf = 0;
        invept(ept_pointer(&self->vcpu));
    }
    *leaf = hpa | EPT_WRITE_BACK | EPT_ALLOWED | EPT_LARGE;
    return true;
}

void ept_unmap(u64 gpa) {
    u64 *leaf;

    if (OFF(split) && *entry_of(self->vcpu.ept, gpa, 2) & EPT_LARGE)
        return;
    if (!(leaf = entry_of(self->vcpu.ept, gpa, 1)))
        kill_container("no host memory for a table", gpa);
    *leaf = 0;
}

void ept_unmap_large(u64 gpa) { *entry_of(self->vcpu.ept, gpa, 2) = 0; }

static bool wants_large;                /* option ept=2m: so many at a time, where nothing of them is bound yet */

void ept_init(void) {
    wants_large = option_is("ept", "2m");
    if (option_given("ept") && !wants_large && !option_is("ept", "4k"))
        panic("option ept= is to be 4k or 2m");
}

static bool bind_large(u64 gpa) { return wants_large && !self->ahead && memory_back_large(gpa); }

void ept_violation(struct vcpu *v) {
    u64 gpa = vmread(GUEST_PHYSICAL_ADDRESS), page = ROUND_DOWN(gpa, PAGE_SIZE), end = self->pages << PAGE_SHIFT;

    if (gpa >= end && OFF(gpa) && ept_map(page, page - end))
        return;
    if (gpa >= end)
        kill_container("it used an address outside its memory", gpa);
    if (!bind_large(ROUND_DOWN(gpa, LARGE_PAGES * PAGE_SIZE)) && !binding_get(gpa))
        binding_missing(gpa);
    inject_again(v);
}
