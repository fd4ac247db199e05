/* Address spaces: the kernel's half is in every one of them. */
#include "kernel.h"
#include "machine.h"
#include "memory.h"
#include "native.h"
#include "pager.h"
#include "platform/space.h"
#include "x86.h"

extern pte_t boot_pml4[];       /* in .boot: a physical address */

static pte_t *root(void) { return direct((u64)boot_pml4); }

u64 cr4;

void memory_init(void) {
    struct cpuid seven = cpuid(7, 0);

    map_image();
    cr4 = read_cr4() | CR4_OSFXSR | CR4_OSXMMEXCPT;
    if (seven.b & 1u << 0) cr4 |= CR4_FSGSBASE;
    if (seven.b & 1u << 7) cr4 |= CR4_SMEP;
    if (seven.b & 1u << 20) cr4 |= CR4_SMAP;
    if (seven.c & 1u << 2) cr4 |= CR4_UMIP;
    if (seven.c & 1u << 3) cr4 |= CR4_PKE;
    write_cr4(cr4);
    write_cr0((read_cr0() | CR0_MP) & ~CR0_EM);
}

u64 plat_as_create(pte_t *top) {
    for (int i = 256; i < 512; i++)
        top[i] = root()[i];
    return physical(top);
}

void plat_as_destroy(u64 as) {
    if (read_cr3() == as)
        write_cr3((u64)boot_pml4);
}

void plat_as_switch(u64 as) { write_cr3(as); }

void plat_pte_set(u64 as, u64 va, const pte_t *entries, u64 count, bool stale) {
    (void)entries;
    if (!stale)
        return;                 /* hardware keeps no entry that was not present */
    if (count > 32) {
        write_cr3(as);
        return;
    }
    for (u64 i = 0; i < count; i++)
        invlpg(va + i * PAGE_SIZE);
}

/* Without a hypervisor, or in another one, VMCALL is not ours to execute. */
static i64 vmcall(u64 number, u64 a, u64 b, u64 c) {
    struct cpuid h = cpuid(PAGER_CPUID, 0);
    i64 result = -1;

    if (h.b == PAGER_EBX && h.c == PAGER_ECX && h.d == PAGER_EDX)
        asm volatile("vmcall" : "=a"(result) : "a"(number), "b"(a), "c"(b), "d"(c) : "memory");
    return result;
}

i64 plat_pager(u64 request, u64 counts) { return vmcall(PAGER_HYPERCALL, request, counts, DIRECT_MAP); }
i64 plat_memory(u64 function, u64 a, u64 b) { return vmcall(MEMORY_HYPERCALL, function, a, b); }
