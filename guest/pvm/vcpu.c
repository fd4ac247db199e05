/* The processor's part of a container: from its first instruction on, into the processor and out of it. */
#include "machine.h"
#include "options.h"
#include "policy.h"
#include "pvm.h"
#include "selectors.h"
#include "x86.h"

#define CR3_KEEP (1UL << 63)            /* with PCIDs: keep this one's translations */
#define FIRST_PCID 1                    /* of the first space; 0 is the host's */

extern pte_t boot_pml4[];               /* physical: .boot is not relocated */

bool has_keys, has_pcid;

/* Without PCIDs each load of CR3 drops the guest's translations, and all is simple; with them only ready_to_enter() does. */
void runtime_init(void) {
    struct cpuid one = cpuid(1, 0), seven = cpuid(7, 0);
    u64 cr4 = read_cr4() | CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_FSGSBASE;

    if (!(seven.b & 1u << 0))
        panic("this processor lacks FSGSBASE");
    has_keys = seven.c >> 3 & 1;
    has_pcid = one.c >> 17 & 1 && seven.b >> 10 & 1;    /* INVPCID is to come with them */
    if (seven.b & 1u << 7) cr4 |= CR4_SMEP;
    if (seven.b & 1u << 20) cr4 |= CR4_SMAP;
    if (seven.c & 1u << 2) cr4 |= CR4_UMIP;
    if (has_keys) cr4 |= CR4_PKE;
    if (has_pcid) cr4 |= CR4_PCIDE;
    write_cr4(cr4);
    write_cr0((read_cr0() | CR0_MP) & ~CR0_EM);
    switcher.host_cr3 = (u64)boot_pml4 | (has_pcid ? CR3_KEEP : 0);
    switcher.flags = has_keys ? SWITCH_KEYS : 0;
}

void runtime_reserve(u64 *from, u64 pages) { frames_init(from, pages); }

/* Ring 0's half, the same in all tables; a guest at ring 3 has no access to it. */
void host_half(pte_t *top) {
    const pte_t *boot = host((u64)boot_pml4);

    for (int i = HOST_SLOT; i < (int)TABLE_ENTRIES; i++)
        top[i] = boot[i];
}

bool load_cr3(u64 cr3) {
    u64 at = cr3 & PTE_ADDRESS;

    if (at >> PAGE_SHIFT >= self->pages)
        return false;
    self->vcpu.cr3 = at;
    self->vcpu.shadows.current = NULL;
    return true;
}

static u64 tagged(const struct shadow *root, u64 pcid) {
    return host_physical(root->table) | (has_pcid ? pcid | CR3_KEEP : 0);
}

void ready_to_enter(void) {
    struct shadows *s = &self->vcpu.shadows;

    while (!s->current && !space_enter(s, self->vcpu.cr3))
        if (!policy_wait(TURNS))
            kill_container("no host memory for its page tables", self->vcpu.cr3);
    u64 pcid = FIRST_PCID + 2 * (u64)(s->current - s->spaces);
    switcher.smod_cr3 = tagged(s->current->root[SHADOW_SUPERVISOR], pcid);
    switcher.umod_cr3 = tagged(s->current->root[SHADOW_USER], pcid + 1);
    if (s->flush && has_pcid)
        invpcid(INVPCID_ALL, 0, 0);
    if (s->flush) {
        s->flush = s->stale = false;
        shadows_may_run_ahead(s);
    }
}

bool vcpu_create(struct vcpu *v) {
    *v = (struct vcpu){.switcher = {.flags = has_keys ? SWITCH_KEYS : 0, .host_cr3 = switcher.host_cr3}};
    devices_init(&v->devices, !self->number);
    shadows_begin(&v->shadows, option("eager", 0));
    return true;
}

void vcpu_destroy(struct vcpu *v) { shadows_end(&v->shadows); }

bool vcpu_map(u64 gpa, u64 hpa) {
    frame_clear(hpa, gpa);
    return true;
}

/* The host follows a pointer of its own to the PVCS, and the processor runs by the top-level table. */
bool vcpu_needs(u64 gpa) {
    return (self->vcpu.pvcs && ROUND_DOWN(self->vcpu.pvcs, PAGE_SIZE) == gpa && !OFF(kept)) ||
           shadow_is_root(&self->vcpu.shadows, binding_get(gpa));
}

void vcpu_unmap(u64 gpa) { shadow_unmap(&self->vcpu.shadows, binding_get(gpa)); }

bool vcpu_maps_large(void) { return false; }    /* a shadow is a page's */
bool vcpu_map_large(u64 gpa, u64 hpa) { return (void)gpa, (void)hpa, false; }
void vcpu_unmap_large(u64 gpa) { (void)gpa; }

void vcpu_flush(const u64 *blocks, u64 count) {
    (void)blocks, (void)count;
    self->vcpu.shadows.flush = true;
}

void vcpu_ahead(void) { shadows_begin_ahead(&self->vcpu.shadows); }
void vcpu_bound(const u64 *blocks, u64 count) { shadows_bound(&self->vcpu.shadows, blocks, count); }

/* Shadow tables could go, but not while one is being filled: memory.c does it between two tries. */
bool vcpu_reclaim(void) { return false; }

void vcpu_load(struct vcpu *v) {
    switcher = v->switcher;
    v->shadows.flush = true;    /* its tags are the other one's, too */
    write_fs_base(v->fs);
    write_gs_base(v->gs);
    if (has_keys)
        wrpkru((u32)v->pkru);
}

void vcpu_put(struct vcpu *v) {
    v->switcher = switcher;
    v->fs = read_fs_base();
    v->gs = read_gs_base();
    v->pkru = has_keys ? rdpkru() : 0;
}

void vcpu_run(struct vcpu *v) {
    ready_to_enter();
    plat_enter_user(&v->start);
}
