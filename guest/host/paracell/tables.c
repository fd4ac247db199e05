/* Page tables: the host owns every one of them.
 *
 *   level 4  0..255    the space's own: container user
 *            273       the container's: its kernel's direct map, a page at a time as it is bound
 *            288       everybody's: the host's direct map
 *            511       the container's: both kernels' images
 *
 * Of each page that a user half or the image maps the host counts the mappings, and of each leaf table the entries in
 * use.  The direct map does not count: it is what a binding makes.
 */
#include "paracell.h"
#include "pager.h"
#include "walk.h"
#include "x86.h"

#define LEAF_SHIFT 21           /* what a leaf table covers */
#define IMAGE_SIZE (1UL << 30)                  /* what level 3 gives the container kernel's image */

extern pte_t boot_pml4[];                       /* physical: .boot is not relocated */

static bool make_table(pte_t *entry, void *arg) {
    void *page = page_alloc();

    (void)arg;
    if (page)
        *entry = host_physical(page) | PTE_TABLE;
    return page;
}

pte_t *leaf_of(pte_t *top, u64 va) { return walk_to(top, va, &(struct visitor){.missing = make_table}, NULL); }

static u32 *entries_in_use(const pte_t *leaf) { return page_uses(ROUND_DOWN(host_physical(leaf), PAGE_SIZE)); }

void leaf_set(pte_t *leaf, pte_t now) {
    if (*leaf & PTE_P) {
        --*page_uses(*leaf & PTE_ADDRESS);
        --*entries_in_use(leaf);
    }
    if (now & PTE_P) {
        ++*page_uses(now & PTE_ADDRESS);
        ++*entries_in_use(leaf);
    }
    *leaf = now;
}

/* Four at a time: most of a leaf table is empty, and a process ends often. */
static void clear_leaves(pte_t *table) {
    for (pte_t *leaf = table; leaf < table + TABLE_ENTRIES && *entries_in_use(table); leaf += 4) {
        while (leaf < table + TABLE_ENTRIES - 4 && !((leaf[0] | leaf[1] | leaf[2] | leaf[3]) & PTE_P))
            leaf += 4;
        for (int i = 0; i < 4; i++)
            leaf_set(&leaf[i], 0);
    }
}

/* Free what an entry leads to.  A leaf table first lets go of the pages that it maps. */
static void free_table(pte_t *entry, int level, void *arg) {
    pte_t *table = host(*entry & PTE_ADDRESS);

    (void)arg;
    if (level == 2)
        clear_leaves(table);
    *entry = 0;
    page_free(table);
}

static void free_direct_map(pte_t *entry, int level, void *arg) {
    (void)level, (void)arg;
    page_free(host(*entry & PTE_ADDRESS));
    *entry = 0;
}

pte_t *space_create(void) {
    pte_t *top = page_alloc();

    if (top)
        memcpy(top + 256, self->vcpu.template + 256, 256 * sizeof *top);
    return top;
}

void space_destroy(pte_t *top) {
    walk(top, 0, LOWER_HALF, &(struct visitor){.left = free_table}, NULL);
    page_free(top);
}

/* The boot code's tables without the identity mapping, and with a level-3 table for this container's image.  Level-4
 * entries of the upper half are made before the first space is, so a leaf added later is seen in all of them. */
bool vcpu_create(struct vcpu *v) {
    pte_t *boot = host((u64)boot_pml4), *image;

    *v = (struct vcpu){.template = page_alloc(), .key = OFF(keys) ? 0 : KEY_KERNEL};
    if (!v->template || !(image = page_alloc()))
        return false;
    memcpy(v->template + 256, boot + 256, 256 * sizeof *boot);
    memcpy(image, host(boot[511] & PTE_ADDRESS), PAGE_SIZE);
    v->template[511] = host_physical(image) | PTE_TABLE;
    return leaf_of(v->template, GK_DIRECT);
}

void vcpu_destroy(struct vcpu *v) {
    for (int i = 0; i < MAX_SPACES; i++)
        if (v->space[i])
            space_destroy(v->space[i]);
    if (!v->template)
        return;
    walk(v->template, GK_DIRECT, GK_DIRECT + level_span(4), &(struct visitor){.left = free_direct_map}, NULL);
    if (v->template[511]) {
        walk(v->template, GK_BASE, GK_BASE + IMAGE_SIZE, &(struct visitor){.left = free_table}, NULL);
        page_free(host(v->template[511] & PTE_ADDRESS));
    }
    page_free(v->template);
}

/* The container kernel's pages are global: a change of space keeps their translations, a change of container drops
 * them (vcpu.c). */
#define KERNEL_PTE (PTE_P | PTE_U | PTE_A | PTE_G)

bool map_image_page(u64 va, u64 hpa, u64 rights) {
    pte_t *leaf = leaf_of(self->vcpu.template, va);

    if (leaf)
        leaf_set(leaf, hpa | KERNEL_PTE | rights);
    return leaf;
}

/* The leaf table of the last page is the next one's, mostly; none of the direct map's goes before its container does. */
static pte_t *direct_leaf(u64 gpa) {
    struct vcpu *v = &self->vcpu;

    if (!v->direct || v->direct_span != gpa >> LEAF_SHIFT) {
        v->direct = leaf_of(v->template, GK_DIRECT + gpa);
        v->direct_span = gpa >> LEAF_SHIFT;
        return v->direct;
    }
    return (pte_t *)ROUND_DOWN((u64)v->direct, PAGE_SIZE) + level_index(gpa, 1);
}

bool vcpu_map(u64 gpa, u64 hpa) {
    pte_t *leaf = direct_leaf(gpa);

    if (leaf)
        *leaf = hpa | KERNEL_PTE | PTE_W | PTE_D | PTE_NX | PTE_KEY(self->vcpu.key);
    return leaf;
}

bool vcpu_needs(u64 gpa) { return (void)gpa, false; }   /* its tables are the host's own pages */

void vcpu_unmap(u64 gpa) { *direct_leaf(gpa) = 0; }

bool vcpu_maps_large(void) { return false; }    /* keys and counts are a page's */
bool vcpu_map_large(u64 gpa, u64 hpa) { return (void)gpa, (void)hpa, false; }
void vcpu_unmap_large(u64 gpa) { (void)gpa; }

#define FEW 32                  /* pages that are invalidated one by one */

static u64 pages_of(u64 block) { return 1UL << (block & PAGER_ORDER); }

void vcpu_flush(const u64 *blocks, u64 count) {
    u64 pages = 0;

    if (OFF(flush))
        return;
    for (u64 i = 0; i < count; i++)
        pages += pages_of(blocks[i]);
    if (pages > FEW) {
        flush_tlb();            /* the container kernel's pages are global */
        return;
    }
    for (const u64 *block = blocks; block < blocks + count; block++)
        for (u64 i = 0; i < pages_of(*block); i++)
            invlpg(GK_DIRECT + (*block & PTE_ADDRESS) + (i << PAGE_SHIFT));
}

static void free_if_empty(pte_t *entry, int level, void *freed) {
    if (level == 2 && !*entries_in_use(host(*entry & PTE_ADDRESS))) {
        free_table(entry, level, NULL);
        *(bool *)freed = true;
    }
}

/* Free the leaf tables that map nothing any more.  So a caller of leaf_of() must not allocate while it uses the entry. */
bool vcpu_reclaim(void) {
    bool freed = false;

    for (int i = 0; i < MAX_SPACES; i++)
        if (self->vcpu.space[i])
            walk(self->vcpu.space[i], 0, LOWER_HALF, &(struct visitor){.left = free_if_empty}, &freed);
    if (freed)
        write_cr3(read_cr3());  /* the processor may have the tables' addresses */
    return freed;
}
