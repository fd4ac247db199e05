/* The entries of page tables, as the processor reads them.
 * Source: SDM volume 3, "4-Level Paging and 5-Level Paging". */
#ifndef PTE_H
#define PTE_H

#include "types.h"

typedef u64 pte_t;

#define PTE_P (1UL << 0)
#define PTE_W (1UL << 1)
#define PTE_U (1UL << 2)
#define PTE_A (1UL << 5)
#define PTE_D (1UL << 6)
#define PTE_G (1UL << 8)
#define PTE_IGNORED (7UL << 9)          /* the processor does: software's */
#define PTE_ADDRESS 0x000ffffffffff000UL
#define PTE_KEY(key) ((u64)(key) << 59)
#define PTE_KEYS PTE_KEY(15)
#define PTE_NX (1UL << 63)

/* An entry of the upper levels lets everything through: the leaves decide. */
#define PTE_TABLE (PTE_P | PTE_W | PTE_U | PTE_A)

#define LOWER_HALF (1UL << 47)          /* its end */
#define TABLE_ENTRIES 512UL
#define TABLE_LEVELS 4

/* What one entry of a table at this level covers, and which entry covers `va`. */
static inline u64 level_span(int level) { return PAGE_SIZE << 9 * (level - 1); }
static inline u64 level_index(u64 va, int level) { return va >> (PAGE_SHIFT + 9 * (level - 1)) & (TABLE_ENTRIES - 1); }

#endif
