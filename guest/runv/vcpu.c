/* The processor's part of a container: from its first instruction on, into the processor and out of it. */
#include "machine.h"
#include "options.h"
#include "runv.h"
#include "x86.h"

#define DR6_AT_RESET 0xffff0ff0
#define MULTIBOOT_MAGIC 0x2badb002

void runtime_reserve(u64 *from, u64 pages) {
    if ((shadow_paging = option_is("mmu", "spt")))
        frames_init(from, pages);
    else if (option_given("mmu") && !option_is("mmu", "ept"))
        panic("option mmu= is to be ept or spt");
}

void runtime_init(void) {
    ept_init();
    control_init();
    vmx_init();
    msr_init();
}

bool vcpu_create(struct vcpu *v) {
    *v = (struct vcpu){.xcr0 = 1, .dr6 = DR6_AT_RESET};
    if (!(v->vmcs = page_alloc()))
        return false;
    if (shadow_paging)
        spt_create(v);
    else
        ept_create(v);
    devices_init(&v->devices, !self->number);
    vmcs_clear(v->vmcs);
    vmcs_load(v->vmcs);
    vmcs_fill(v);
    return true;
}

void vcpu_destroy(struct vcpu *v) {
    if (v->vmcs) {
        vmcs_clear(v->vmcs);
        page_free(v->vmcs);
    }
    if (shadow_paging)
        spt_destroy(v);
    else
        ept_destroy(v);
}

bool vcpu_map(u64 gpa, u64 hpa) {
    if (!shadow_paging)
        return ept_map(gpa, hpa);
    frame_clear(hpa, gpa);              /* tables get it when it is touched */
    return true;
}

bool vcpu_needs(u64 gpa) { return shadow_paging && shadow_is_root(&self->vcpu.shadows, binding_get(gpa)); }

void vcpu_unmap(u64 gpa) {
    if (shadow_paging)
        spt_unmap(gpa);
    else
        ept_unmap(gpa);
}

bool vcpu_maps_large(void) { return !shadow_paging; }
bool vcpu_map_large(u64 gpa, u64 hpa) { return ept_map_large(gpa, hpa); }
void vcpu_unmap_large(u64 gpa) { ept_unmap_large(gpa); }

void vcpu_flush(const u64 *blocks, u64 count) {
    (void)blocks, (void)count;
    if (shadow_paging)
        self->vcpu.shadows.flush = true;
    else
        invept(ept_pointer(&self->vcpu));
}

void vcpu_ahead(void) {
    if (shadow_paging)
        shadows_begin_ahead(&self->vcpu.shadows);
}

void vcpu_bound(const u64 *blocks, u64 count) {
    if (shadow_paging)
        shadows_bound(&self->vcpu.shadows, blocks, count);
}

bool vcpu_reclaim(void) { return false; }       /* a table stays as long as its container, or can go at another time only */

/* As a boot loader would: the module of the container kernel is a multiboot kernel, what load.c says is put in its words. */
void vcpu_start(struct vcpu *v, const struct elf_header *kernel, u64 boot_page) {
    struct gk_boot *boot = host(binding_get(boot_page));
    struct multiboot *info = (struct multiboot *)(boot + 1);
    struct module *modules = (struct module *)(info + 1);
    u64 at = boot_page + sizeof *boot;

    modules[0] = (struct module){.start = (u32)boot->rootfs, .end = (u32)(boot->rootfs + boot->rootfs_size)};
    modules[1] = (struct module){.start = (u32)boot->init, .end = (u32)(boot->init + boot->init_size)};
    *info = (struct multiboot){
        .flags = MULTIBOOT_MEMORY | MULTIBOOT_CMDLINE | MULTIBOOT_MODULES,
        .mem_lower = 640, .mem_upper = (u32)((boot->memory - HIGH_MEMORY) / 1024),
        .cmdline = (u32)(boot_page + offsetof(struct gk_boot, cmdline)),
        .mods_count = 2, .mods_addr = (u32)(at + sizeof *info),
    };
    v->registers[RAX] = MULTIBOOT_MAGIC;
    v->registers[RBX] = at;
    vmwrite(GUEST_RIP, kernel->entry);
}

void vcpu_load(struct vcpu *v) {
    vmcs_load(v->vmcs);
    msr_load(v);
    control_load(v);
}

void vcpu_put(struct vcpu *v) {
    msr_put(v);
    control_put(v);
}

void vcpu_run(struct vcpu *v) {
    for (;;) {
        inject_interrupt(v);
        if (shadow_paging)
            spt_enter(v);
        if (!vm_enter(v, v->launched)) {
            if (!OFF(entry))
                kill_container("a VM entry that failed, VM-instruction error", vmread(INSTRUCTION_ERROR));
            panic("VM entry of container %d failed with VM-instruction error %lu", self->number, vmread(INSTRUCTION_ERROR));
        }
        v->launched = true;
        handle_exit(v);
    }
}

/* The host's own: an interrupt while nobody can run, or its end. */
void arch_trap(struct trapframe *tf, u64 address) {
    if (tf->vector < VEC_IRQ0)
        panic("exception %lu, error %lx, in the host at rip %lx, address %lx", tf->vector, tf->error, tf->rip, address);
    interrupt(tf->vector);
}

void trap(struct trapframe *tf, u64 address) {
    (void)address;
    panic("SYSCALL in the host at rip %lx", tf->rip);   /* nothing here runs at ring 3 */
}
