/* The processor's part of a container: from its first instruction on, into the processor and out of it. */
#include "machine.h"
#include "paracell.h"
#include "selectors.h"
#include "x86.h"

#define XCR0_X87_SSE_PKRU 0x203

static void features_init(void) {
    struct cpuid seven = cpuid(7, 0);
    u64 cr4 = read_cr4() | CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_FSGSBASE;

    if (!(seven.c & 1u << 3) || !(seven.b & 1u << 0))
        panic("this processor lacks protection keys or FSGSBASE");
    if (seven.b & 1u << 7) cr4 |= CR4_SMEP;
    if (seven.b & 1u << 20) cr4 |= CR4_SMAP;
    if (seven.c & 1u << 2) cr4 |= CR4_UMIP;
    if (cpuid(1, 0).c >> 26 & 1) {      /* XSAVE: programs may have it, with the keys in it */
        write_cr4(cr4 |= CR4_PKE | CR4_OSXSAVE);
        asm volatile("xsetbv" :: "c"(0), "a"(XCR0_X87_SSE_PKRU), "d"(0));
    }
    write_cr4(cr4 | CR4_PKE);
    write_cr0((read_cr0() | CR0_MP) & ~CR0_EM);
    wrpkru(PKRU_KERNEL);
}

void runtime_reserve(u64 *from, u64 pages) { (void)from, (void)pages; }

void runtime_init(void) {
    if (OFF(int80))
        open_gate(0x80);
    features_init();
}

void load_space(u64 handle) {
    self->vcpu.current = handle;
    write_cr3(host_physical(handle ? self->vcpu.space[handle - 1] : self->vcpu.template));
}

void vcpu_load(struct vcpu *v) {
    load_space(v->current);
    flush_tlb();                /* the container kernel's pages are global */
    write_fs_base(v->fs);
    write_gs_base(v->gs);
    wrpkru((u32)v->pkru);
}

void vcpu_put(struct vcpu *v) {
    v->fs = read_fs_base();
    v->gs = read_gs_base();
    v->pkru = rdpkru();
}

void vcpu_run(struct vcpu *v) { plat_enter_user(&v->start); }

static u64 rights_of(u32 flags) {
    if (flags & PF_X)
        return 0;
    return flags & PF_W ? PTE_W | PTE_D | PTE_NX : PTE_NX;
}

static bool map_segment(const struct elf_segment *s, int key) {
    for (u64 va = ROUND_DOWN(s->vaddr, PAGE_SIZE); va < s->vaddr + s->memsz; va += PAGE_SIZE) {
        u64 hpa = binding_get(va - GK_BASE);
        if (!hpa || !map_image_page(va, hpa, rights_of(s->flags) | PTE_KEY(key)))
            return false;
    }
    return true;
}

static void replace(u8 *code, u64 size, const u8 *by) {
    for (u64 i = 0; i < size; i++)
        *(u8 *)guest_memory((u64)code + i, 1) = by ? by[i] : 0x90;
}

/* Positive controls: the gate without one of its defences. */
static void change_gate(const struct gk_header *h) {
    static const u8 by_gs[9] = {0x65, 0x48, 0x8b, 0x24, 0x25};  /* mov %gs:0, %rsp */

    if (OFF(check)) {
        replace(h->check[0], 6, NULL);
        replace(h->check[1], 6, NULL);
    }
    if (OFF(stack))
        replace(h->take_stack, sizeof by_gs, NULL);
    if (OFF(gs))
        replace(h->take_stack, sizeof by_gs, by_gs);
}

/* The image where it was linked, with its key; the gate's scratch page is container user's as well. */
void vcpu_start(struct vcpu *v, const struct elf_header *kernel, u64 boot_page) {
    const struct elf_segment *segments = (const struct elf_segment *)((const u8 *)kernel + kernel->phoff);
    bool mapped = true;

    for (int i = 0; i < kernel->phnum; i++)
        if (segments[i].type == PT_LOAD)
            mapped = mapped && map_segment(&segments[i], v->key);
    if (!mapped || !copy_from_guest(&v->header, GK_BASE + GK_LOAD, sizeof v->header) || v->header.magic != GK_MAGIC)
        kill_container("boot: module 0 is no container kernel, or it is too large", mapped);
    const struct gk_header *h = &v->header;
    if (h->event_entry < h->text_start || h->event_entry >= h->text_end || h->text_start < GK_BASE)
        kill_container("boot: its event entry is not in its text", h->event_entry);
    v->shared = (u64)h->vcpu < GK_BASE ? NULL : guest_memory((u64)h->vcpu, sizeof *v->shared);
    if (!v->shared || !*page_uses(host_physical(v->shared)))
        kill_container("boot: its per-processor memory is not in its image", (u64)h->vcpu);
    u64 scratch = (u64)h->scratch, hpa = binding_get(scratch - GK_BASE);
    if (!hpa || !map_image_page(scratch, hpa, PTE_W | PTE_D | PTE_NX))
        kill_container("boot: the scratch page is not its own", scratch);
    change_gate(h);
    v->start = (struct trapframe){
        .rip = v->header.entry, .rdi = GK_DIRECT + boot_page, .rflags = 0x202, .cs = USER_CS, .ss = USER_SS,
    };
}

/* An address of the container kernel: in its direct map, or in its image.  Anything else is
 * refused, so that the host never follows a pointer that it has not checked. */
void *guest_memory(u64 va, u64 size) {
    u64 in_image = va - GK_BASE;
    bool image = in_image < 1UL << 30;

    if (OFF(pointer) && va >= DIRECT_MAP && !image)
        return (void *)va;      /* the host's own */
    u64 hpa = (va & PAGE_MASK) + size <= PAGE_SIZE ? binding_get(image ? in_image : va - GK_DIRECT) : 0;
    return hpa ? (u8 *)host(hpa) + (va & PAGE_MASK) : NULL;
}
