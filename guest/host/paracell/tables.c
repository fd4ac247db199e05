/* Page tables: the host owns every one of them.
 *
 *   level 4  0..255    the space's own: container user
 *            273       the container's: its kernel's direct map, a page at a time as it is bound
 *            288       everybody's: the host's direct map
 *            511       the container's: both kernels' images
 */
#include "host.h"

extern u64 boot_pml4[];                         /* physical: .boot is not relocated */

/* Start from the boot code's tables, without the identity mapping.  Entries of the upper levels
 * let user accesses through; the leaves decide. */
void tables_init(void) {
    u64 *template = self->template = page_take();
    u64 *boot = host((u64)boot_pml4), *image = page_take();

    for (int i = 256; i < 512; i++)
        template[i] = boot[i];
    u64 *old = host(boot[511] & PTE_ADDRESS);
    for (int i = 0; i < 512; i++)
        image[i] = old[i];
    template[511] = host_physical(image) | PTE_TABLE;
}

u64 *space_create(void) {
    u64 *top = page_take();

    for (int i = 256; i < 512; i++)
        top[i] = self->template[i];
    return top;
}

static void destroy_table(u64 *table, int level, int entries) {
    for (int i = 0; level > 1 && i < entries; i++)
        if (table[i] & PTE_P)
            destroy_table(host(table[i] & PTE_ADDRESS), level - 1, 512);
    page_give(table);
}

void space_destroy(u64 *top) { destroy_table(top, 4, 256); }

void leave_space(void) {
    self->current = 0;
    write_cr3(host_physical(self->template));
}

u64 *entry_of(u64 *top, u64 va) {
    u64 *table = top;

    for (int shift = 39; shift > 12; shift -= 9) {
        u64 *entry = &table[va >> shift & 511];
        if (!(*entry & PTE_P))
            *entry = host_physical(page_take()) | PTE_TABLE;
        table = host(*entry & PTE_ADDRESS);
    }
    return &table[va >> 12 & 511];
}

/* The container kernel's half is the same in every space.  Its level-4 entries are made
 * before the first space is, so a leaf added later is seen in all of them.  Its pages are global: a
 * change of space keeps their translations, and a change of container drops them (schedule.c). */
void map_kernel_page(u64 va, u64 hpa, u64 rights) {
    *entry_of(self->template, va) = hpa | PTE_P | PTE_U | PTE_A | PTE_G | rights;
}
