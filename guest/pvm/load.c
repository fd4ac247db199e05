/* A guest's first page tables, as a boot loader makes them: its image page by page, and all of its memory at DIRECT_MAP. */
#include "pvm.h"
#include "selectors.h"
#include "walk.h"

#define PTE_PS (1UL << 7)
#define GIB (1UL << 30)

struct loader { struct gk_boot *boot; bool failed; };

/* The next page behind what is loaded. */
static u64 table_page(struct loader *l) {
    u64 gpa = l->boot->free_start;

    l->boot->free_start += PAGE_SIZE;
    if (!binding_get(gpa))
        l->failed = true;
    return gpa;
}

static pte_t *entry_of(struct loader *l, u64 va, int leaf) {
    u64 table = l->boot->root;

    for (int level = TABLE_LEVELS;; level--) {
        u64 hpa = binding_get(table);
        pte_t *entry = hpa ? (pte_t *)host(hpa) + level_index(va, level) : NULL;
        if (!entry || level == leaf)
            return entry;
        if (!(*entry & PTE_P))
            *entry = table_page(l) | PTE_TABLE;
        table = *entry & PTE_ADDRESS;
    }
}

static void map(struct loader *l, u64 va, pte_t now, int level) {
    pte_t *entry = entry_of(l, va, level);

    if (entry)
        *entry = now | PTE_P | PTE_A;
    else
        l->failed = true;
}

static pte_t rights_of(u32 flags) {
    return flags & PF_X ? 0 : flags & PF_W ? PTE_W | PTE_D | PTE_NX : PTE_NX;
}

void vcpu_start(struct vcpu *v, const struct elf_header *kernel, u64 boot_page) {
    const struct elf_segment *segments = (const struct elf_segment *)((const u8 *)kernel + kernel->phoff);
    struct loader l = {.boot = host(binding_get(boot_page))};

    l.boot->root = table_page(&l);
    for (int i = 0; i < kernel->phnum; i++)
        if (segments[i].type == PT_LOAD)
            for (u64 at = 0; at < segments[i].memsz && !l.failed; at += PAGE_SIZE)
                map(&l, segments[i].vaddr + at, (segments[i].paddr + at) | rights_of(segments[i].flags), 1);
    for (u64 gpa = 0; gpa < l.boot->memory && !l.failed; gpa += GIB)
        map(&l, GUEST_DIRECT + gpa, gpa | PTE_W | PTE_D | PTE_NX | PTE_PS, 3);
    if (l.failed || !load_cr3(l.boot->root))
        kill_container("boot: its first page tables do not fit into its memory", l.boot->root);
    v->start = (struct trapframe){
        .rip = kernel->entry, .rdi = GUEST_DIRECT + boot_page, .rflags = FLAGS_FIXED, .cs = USER_CS, .ss = USER_SS,
    };
}
