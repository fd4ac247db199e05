/* The conditions, and what an access should do.  Source: SDM volume 3, "Determination of Access Rights", "Protection
 * Keys", "Page-Fault Exceptions", "Accessed and Dirty Flags". */
#ifndef MODEL_H
#define MODEL_H

#include "bare.h"

/* Those at the end change slowly. */
#define EACH_CONDITION(X) \
    X(PTE_P, "pte.p") X(PTE_RW, "pte.rw") X(PTE_USER, "pte.user") X(PTE_A, "pte.a") X(PTE_D, "pte.d") X(PTE_NX, "pte.nx") \
    X(PDE_P, "pde.p") X(PDE_RW, "pde.rw") X(PDE_USER, "pde.user") X(PDE_A, "pde.a") X(PDE_D, "pde.d") X(PDE_NX, "pde.nx") \
    X(PDE_PSE, "pde.pse") X(PDE_13, "pde.13") X(PDPTE_RO, "pdpte.ro") X(PKEY, "pkey") \
    X(USER, "user") X(WRITE_ACCESS, "write") X(FETCH, "fetch") X(TWICE, "twice") X(AC, "rflags.ac") \
    X(PKRU_AD, "pkru.ad") X(PKRU_WD, "pkru.wd") \
    X(WP, "cr0.wp") X(NXE, "efer.nx") X(PKE, "cr4.pke") X(SMEP, "cr4.smep") X(SMAP, "cr4.smap")

enum condition {
#define ENUMERATE(id, name) id,
    EACH_CONDITION(ENUMERATE)
#undef ENUMERATE
    CONDITIONS
};

#define IS(c, condition) ((int)((c) >> (condition) & 1))
#define NO_FAULT 0x100UL

struct expected {
    u64 error;                  /* the error code, or NO_FAULT */
    u64 pde, pte;               /* accessed and dirty bits that were set; they add up over calls */
};

void model(u32 c, struct expected *e);

#endif
