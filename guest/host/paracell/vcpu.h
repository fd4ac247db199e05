/* What a container has of the processor under ParaCell, beside what every host keeps (host.h). */
#ifndef VCPU_H
#define VCPU_H

#include "abi.h"
#include "platform/entry.h"
#include "pte.h"

#define MAX_SPACES 512

struct vcpu {
    pte_t *template;            /* its top-level table without container user */
    pte_t *space[MAX_SPACES];   /* top-level tables, by handle - 1; NULL = free */
    pte_t *direct;              /* an entry of the direct map, or NULL; the rest of its table covers direct_span */
    u64 direct_span;
    u64 current;                /* the handle in CR3; 0 = the template */
    int key;                    /* of the container kernel's memory; 0 only if option off=keys */
    struct gk_header header;
    struct xgate_vcpu *shared;  /* the header's, where the host sees it: a page of the image, which is never given back */
    u64 fs, gs, pkru;
    struct trapframe start;
};

/* vcpu_map() does all. */
static inline void vcpu_ahead(void) {}
static inline void vcpu_bound(const u64 *blocks, u64 count) { (void)blocks, (void)count; }

#endif
