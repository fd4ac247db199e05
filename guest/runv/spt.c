/* Shadow paging in place of EPT (option mmu=spt): page faults exit, and tables of the host's translate (guest/shadow).
 *
 * A VM entry without unrestricted guest wants CR0.PG, and the shadow tables are those of 64-bit mode.  So a guest whose
 * paging is off runs in compatibility mode, on a shadow that shows guest-physical addresses as they are.
 * Source: SDM volume 3, "Guest/Host Masks and Read Shadows for CR0 and CR4", "Checks on Guest Control Registers, Debug
 * Registers, and MSRs", "Interrupt 14—Page-Fault Exception (#PF)". */
#include "control.h"
#include "options.h"
#include "policy.h"
#include "runv.h"

#define VECTOR_DF 8

bool shadow_paging;

static u64 vpid(void) { return (u64)self->slot + 1; }

void spt_create(struct vcpu *v) {
    shadows_begin(&v->shadows, option("eager", 0));
    v->shadows.flush = true;            /* the slot's VPID was another one's */
}

void spt_destroy(struct vcpu *v) { shadows_end(&v->shadows); }

/* Shadow tables have nothing of the host's. */
void host_half(pte_t *root) { (void)root; }

void spt_switch(struct vcpu *v) {
    shadows_sync(&v->shadows);
    v->shadows.current = NULL;
    v->shadows.flush = true;
}

bool kernel_sees(u64 gpa, u64 *va, struct translation *t) {
    u64 error = 0;

    *va = self->vcpu.direct + gpa;
    return translate(*va, &error, t);
}

static void choose_tables(struct vcpu *v) {
    u64 cr3 = has_paging() ? v->cr3 & PTE_ADDRESS : NO_TABLES;

    if (cr3 != NO_TABLES && cr3 >> PAGE_SHIFT >= self->pages)
        kill_container("its page tables are outside its memory", cr3);
    while (!space_enter(&v->shadows, cr3))
        if (!policy_wait(TURNS))
            kill_container("no host memory for its page tables", cr3);
    vmwrite(GUEST_CR3, host_physical(v->shadows.current->root[SHADOW_WHOLE]->table));
}

void spt_enter(struct vcpu *v) {
    struct shadows *s = &v->shadows;

    if (!s->current)
        choose_tables(v);
    if (s->flush) {
        invvpid(vpid());
        s->flush = s->stale = false;
        shadows_may_run_ahead(s);
    }
}

void spt_unmap(u64 gpa) { shadow_unmap(&self->vcpu.shadows, binding_get(gpa)); }

void spt_invlpg(struct vcpu *v) {
    shadow_drop_page(&v->shadows, vmread(EXIT_QUALIFICATION));
    v->shadows.flush = true;
    finish_instruction(v);
}

void spt_stored(const void *at, u64 size) { shadow_stored(&self->vcpu.shadows, host_physical(at), size); }

static bool delivering(void) { return vmread(IDT_VECTORING_INFO) & EVENT_VALID; }

/* The fault is the guest's own.  One that comes while another exception is delivered: SDM volume 3, "Interrupt 8—Double
 * Fault Exception (#DF)".  An interrupt or a contributory exception is lost, as in the processor. */
static void reflect(struct vcpu *v, u64 va, u64 error) {
    u64 event = vmread(IDT_VECTORING_INFO), vector = event & EVENT_VECTOR;

    if (delivering() && (event & EVENT_TYPE) == EVENT_EXCEPTION && vector == VECTOR_DF)
        kill_container("triple fault at", vmread(GUEST_RIP));
    write_cr2(va);
    if (delivering() && (event & EVENT_TYPE) == EVENT_EXCEPTION && vector == VECTOR_PF)
        inject_fault(v, VECTOR_DF, 0);
    else
        inject_fault(v, VECTOR_PF, error);
}

static struct trapframe registers_of(const struct vcpu *v) {
    const u64 *r = v->registers;

    return (struct trapframe){
        .rax = r[RAX], .rcx = r[RCX], .rdx = r[RDX], .rbx = r[RBX], .rbp = r[RBP], .rsi = r[RSI], .rdi = r[RDI],
        .r8 = r[8], .r9 = r[9], .r10 = r[10], .r11 = r[11], .r12 = r[12], .r13 = r[13], .r14 = r[14], .r15 = r[15],
        .rsp = vmread(GUEST_RSP), .rip = vmread(GUEST_RIP),
    };
}

/* A store to a table.  The processor may be making it while it delivers an event; and 32-bit code is not decoded. */
static void store(struct vcpu *v, u64 va, const struct translation *t) {
    struct frame *f = frame_of(binding_get(t->gpa));
    struct trapframe tf = registers_of(v);
    u64 rip = tf.rip;
    bool done;

    if (delivering() || !(vmread(of_segment(GUEST_ACCESS, CS)) & ACCESS_LONG))
        done = table_let_go(&v->shadows, f) || unshadow(&v->shadows, f);
    else
        done = shadow_store(&v->shadows, &tf, va, t);
    if (!done)
        kill_container("a store to its top-level page table that is no plain MOV", rip);
    if (tf.rip != rip)
        skip(tf.rip - rip);
    else
        inject_again(v);
}

void spt_page_fault(struct vcpu *v) {
    u64 va = vmread(EXIT_QUALIFICATION), told = vmread(EXIT_ERROR_CODE), error = told & (PF_WRITE | PF_USER | PF_FETCH);
    struct translation t;

    if (told & PF_KEY) {                /* the entry has been used before; a walk would set D for a store that is refused */
        reflect(v, va, told);
        return;
    }
    if (!translate(va, &error, &t)) {
        reflect(v, va, error);
        return;
    }
    switch (shadow_fill(&v->shadows, v->shadows.current->root[SHADOW_WHOLE], va, &t, told & PF_WRITE)) {
    case FILLED:
        if (v->shadows.ahead)
            shadow_fill_around(&v->shadows, v->shadows.current->root[SHADOW_WHOLE], va, TABLE_ENTRIES);
        inject_again(v);
        break;
    case FILL_TABLE:
        store(v, va, &t);
        break;
    case FILL_OUTSIDE:
        kill_container("it used an address outside its memory", t.gpa);
    case FILL_NO_MEMORY:
        binding_missing(t.gpa);
        inject_again(v);
    }
}
