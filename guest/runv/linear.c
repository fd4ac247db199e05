/* Guest-linear to host's pointer, by the guest's own tables, for the one instruction whose memory the host moves: INS, OUTS.
 * Source: SDM volume 3, "4-Level Paging and 5-Level Paging", "Access Rights". */
#include "pte.h"
#include "runv.h"
#include "x86.h"

#define CR0_WP (1UL << 16)
#define CR0_PG (1UL << 31)
#define CR4_LA57 (1UL << 12)
#define EFER_LMA (1UL << 10)
#define FLAG_AC (1UL << 18)
#define PTE_PS (1UL << 7)

#define PF_P 1
#define PF_W 2
#define PF_U 4

static void *memory(u64 gpa) {
    u64 hpa = binding_get(gpa);

    if (!hpa)
        kill_container("it used an address outside its memory", gpa);
    return (u8 *)host(hpa) + (gpa & PAGE_MASK);
}

/* The rights of all levels together; `allowed` has W and U where each entry has it. */
static bool refused(u64 allowed, enum access access, bool user) {
    if (user)
        return !(allowed & PTE_U) || (access == WRITE && !(allowed & PTE_W));
    if (allowed & PTE_U && vmread(GUEST_CR4) & CR4_SMAP && !(vmread(GUEST_RFLAGS) & FLAG_AC))
        return true;
    return access == WRITE && !(allowed & PTE_W) && vmread(GUEST_CR0) & CR0_WP;
}

void *linear(u64 va, enum access access, u64 *error) {
    u64 table = vmread(GUEST_CR3) & PTE_ADDRESS, allowed = PTE_W | PTE_U;
    bool user = in_user_mode();

    if (!(vmread(GUEST_CR0) & CR0_PG))
        return memory((u32)va);
    if (!(vmread(GUEST_EFER) & EFER_LMA))
        kill_container("INS or OUTS with 32-bit paging at", vmread(GUEST_RIP));
    *error = (access == WRITE ? PF_W : 0) | (user ? PF_U : 0);
    for (int level = TABLE_LEVELS;; level--) {
        u64 *entry = memory(table + 8 * level_index(va, level)), span = level_span(level);
        if (!(*entry & PTE_P))
            return NULL;
        allowed &= *entry;
        if (level > 1 && !(*entry & PTE_PS)) {
            *entry |= PTE_A;
            table = *entry & PTE_ADDRESS;
            continue;
        }
        if (refused(allowed, access, user)) {
            *error |= PF_P;
            return NULL;
        }
        *entry |= PTE_A | (access == WRITE ? PTE_D : 0);
        return memory((*entry & PTE_ADDRESS & ~(span - 1)) | (va & (span - 1)));
    }
}

/* The core's console hypercalls have no caller here, but they are linked. */
void *guest_memory(u64 va, u64 size) {
    u64 error;

    return size && (va & PAGE_MASK) + size <= PAGE_SIZE ? linear(va, READ, &error) : NULL;
}
