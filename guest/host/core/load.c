/* Put the container kernel and its modules into guest-physical memory, and prepare its first instruction.
 * Source: ELF-64 Object File Format; Multiboot Specification 0.6.96, "Boot information format". */
#include "host.h"
#include "lib/elf.h"

#define RESERVE 64              /* pages kept for tables that the formula below forgets */

static u64 rights_of(u32 flags) {
    if (flags & PF_X)
        return 0;
    return flags & PF_W ? PTE_W | PTE_D | PTE_NX : PTE_NX;
}

/* Copy one segment to its guest-physical place and map it where it was linked. */
static u64 load_segment(const u8 *image, const struct elf_segment *s) {
    u64 from = ROUND_DOWN(s->vaddr, PAGE_SIZE), to = ROUND_UP(s->vaddr + s->memsz, PAGE_SIZE);

    for (u64 va = from; va < to; va += PAGE_SIZE) {
        u64 hpa = bind(va - GK_BASE);
        if (!hpa)
            kill_container("the container kernel does not fit into its memory", va);
        map_kernel_page(va, hpa, rights_of(s->flags) | PTE_KEY(self->key));
    }
    for (u64 i = 0; i < s->filesz; i++)
        *(u8 *)kernel_memory(s->vaddr + i, 1) = image[s->offset + i];
    return to - GK_BASE;
}

/* A module's pages become guest-physical memory as they are. */
static u64 place_module(const struct module *m, u64 gpa) {
    for (u64 at = 0; at < m->end - m->start; at += PAGE_SIZE)
        bind_to(gpa + at, m->start + at);
    return gpa + ROUND_UP(m->end - m->start, PAGE_SIZE);
}

static void replace(u8 *code, u64 size, const u8 *by) {
    for (u64 i = 0; i < size; i++)
        *(u8 *)kernel_memory((u64)code + i, 1) = by ? by[i] : 0x90;
}

/* Positive controls: the gate without one of its defences. */
static void change_gate(void) {
    static const u8 by_gs[9] = {0x65, 0x48, 0x8b, 0x24, 0x25};  /* mov %gs:0, %rsp */

    if (OFF(check)) {
        replace(self->header.check[0], 6, NULL);
        replace(self->header.check[1], 6, NULL);
    }
    if (OFF(stack))
        replace(self->header.take_stack, sizeof by_gs, NULL);
    if (OFF(gs))
        replace(self->header.take_stack, sizeof by_gs, by_gs);
}

static const struct multiboot *information;

int containers_count(const struct multiboot *info) {
    information = info;
    if (info->mods_count < 3)
        panic("boot: three modules are wanted for each container: kernel, rootfs, init; there are %u", info->mods_count);
    return (int)MIN(info->mods_count / 3, (u32)MAX_CONTAINERS);
}

void container_load(int number) {
    const struct module *modules = (struct module *)host(information->mods_addr) + 3 * number;
    const char *line = information->flags & MULTIBOOT_CMDLINE ? host(information->cmdline) : "";
    struct gk_boot *boot;

    tables_init();
    self->key = OFF(keys) ? 0 : KEY_KERNEL;
    /* Each page costs itself, eight bytes here and eight in a table. */
    u64 left = pages_left();
    self->pages = left - left / 128 - RESERVE;
    self->bound = page_take();
    for (u64 i = PAGE_SIZE; i < self->pages * 8; i += PAGE_SIZE)
        page_take();            /* in order, so the array is contiguous */

    const u8 *image = host(modules[0].start);
    const struct elf_header *elf = (const struct elf_header *)image;
    const struct elf_segment *segments = (const struct elf_segment *)(image + elf->phoff);
    u64 end = 0;
    for (int i = 0; i < elf->phnum; i++)
        if (segments[i].type == PT_LOAD)
            end = MAX(end, load_segment(image, &segments[i]));
    if (!copy_from_kernel(&self->header, GK_BASE + GK_LOAD, sizeof self->header) ||
        self->header.magic != GK_MAGIC)
        kill_container("boot: module 0 is no container kernel", 0);

    u64 scratch = (u64)self->header.scratch;
    map_kernel_page(scratch, bind(scratch - GK_BASE), PTE_W | PTE_D | PTE_NX);

    u64 rootfs = end, init = place_module(&modules[1], rootfs), boot_page = place_module(&modules[2], init);
    boot = host(bind(boot_page));
    boot->memory = self->pages << PAGE_SHIFT;
    boot->free_start = boot_page + PAGE_SIZE;
    boot->rootfs = rootfs;
    boot->rootfs_size = modules[1].end - modules[1].start;
    boot->init = init;
    boot->init_size = modules[2].end - modules[2].start;
    boot->hwcap = cpuid(1, 0).d;
    for (u64 i = 0; i < sizeof boot->cmdline - 1 && line[i]; i++)
        boot->cmdline[i] = line[i];
    change_gate();
    self->start = (struct trapframe){
        .rip = self->header.entry, .rdi = GK_DIRECT + boot_page, .rflags = 0x202, .cs = USER_CS, .ss = USER_SS,
    };
}
