/* The kernel's own image: each page with the rights of its section. */
#include "kernel.h"
#include "machine.h"
#include "walk.h"
#include "x86.h"

#define KERNEL_PTE (PTE_P | PTE_A | PTE_G)
#define TABLES 7                /* one each of levels 4, 3 and 2; a leaf table is enough for 2 MiB */

extern char kernel_text[], kernel_rodata[], kernel_data[], kernel_end[];
extern pte_t boot_pml4[];       /* in .boot: a physical address */

static pte_t tables[TABLES][TABLE_ENTRIES] __attribute__((aligned(4096)));

static u64 image_physical(const void *kernel_address) { return (u64)kernel_address - KERNEL_BASE; }

static pte_t rights(u64 va) {
    if (va < (u64)kernel_rodata)
        return KERNEL_PTE;
    if (va < (u64)kernel_data)
        return KERNEL_PTE | PTE_NX;
    return KERNEL_PTE | PTE_W | PTE_D | PTE_NX;
}

static bool map_page(u64 va, pte_t *entry, void *arg) {
    (void)arg;
    *entry = image_physical((void *)va) | rights(va);
    return true;
}

static bool next_table(pte_t *entry, void *arg) {
    int *used = arg;

    if (++*used == TABLES)
        panic("boot: the kernel is larger than its page tables");
    *entry = image_physical(tables[*used]) | PTE_P | PTE_W | PTE_A;
    return true;
}

/* The new tables take the place of those of the boot code, and of its identity mapping. */
void map_image(void) {
    pte_t *root = direct((u64)boot_pml4);
    int used = 0;

    walk(tables[0], (u64)kernel_text, (u64)kernel_end, &(struct visitor){.leaf = map_page, .missing = next_table}, &used);
    root[511] = tables[0][511];
    root[0] = 0;
    flush_tlb();
}
