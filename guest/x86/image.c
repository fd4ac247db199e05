/* The kernel's own image: each page with the rights of its section.
 * Source: SDM volume 3, "4-Level Paging and 5-Level Paging". */
#include "kernel.h"
#include "machine.h"
#include "pte.h"
#include "x86.h"

#define KERNEL_PTE (PTE_P | PTE_A | PTE_G)

#define KERNEL_TABLES 4         /* 2 MiB each; the image is far smaller */

extern char kernel_text[], kernel_rodata[], kernel_data[], kernel_end[];
extern pte_t boot_pml4[];       /* in .boot: a physical address */

static pte_t directory[512] __attribute__((aligned(4096)));
static pte_t tables[KERNEL_TABLES][512] __attribute__((aligned(4096)));
static pte_t pointers[512] __attribute__((aligned(4096)));

static u64 image_physical(const void *kernel_address) { return (u64)kernel_address - KERNEL_BASE; }
static pte_t *root(void) { return direct((u64)boot_pml4); }

static pte_t rights(u64 va) {
    if (va < (u64)kernel_text)
        return 0;
    if (va < (u64)kernel_rodata)
        return KERNEL_PTE;
    if (va < (u64)kernel_data)
        return KERNEL_PTE | PTE_NX;
    return KERNEL_PTE | PTE_W | PTE_D | PTE_NX;
}

/* Map each page of the image with the rights of its section, and drop the
 * identity mapping that the boot code ran in. */
void map_image(void) {
    for (u64 va = (u64)kernel_text; va < (u64)kernel_end; va += PAGE_SIZE) {
        u64 page = (va - KERNEL_BASE) >> PAGE_SHIFT;
        if (page / 512 >= KERNEL_TABLES)
            panic("boot: the kernel is larger than its page tables");
        tables[page / 512][page % 512] = (va - KERNEL_BASE) | rights(va);
    }
    for (int i = 0; i < KERNEL_TABLES; i++)
        directory[i] = image_physical(tables[i]) | PTE_P | PTE_W | PTE_A;
    pointers[KERNEL_BASE >> 30 & 511] = image_physical(directory) | PTE_P | PTE_W | PTE_A;
    root()[511] = image_physical(pointers) | PTE_P | PTE_W | PTE_A;
    root()[0] = 0;
    flush_tlb();
}
