/* What the files of the ParaCell runtime share. */
#ifndef PARACELL_H
#define PARACELL_H

#include "host.h"

/* tables.c: the host owns every page table.  All of a container's spaces share the upper half. */
pte_t *space_create(void);                      /* NULL without memory */
void space_destroy(pte_t *top);                 /* its tables; the pages are the container's */
pte_t *leaf_of(pte_t *top, u64 va);             /* its tables made if missing; NULL without memory */
void leaf_set(pte_t *leaf, pte_t now);          /* and count what it maps */
bool map_image_page(u64 va, u64 hpa, u64 rights);       /* of the container kernel */

/* vcpu.c */
void load_space(u64 handle);                    /* 0: the template */

/* A frame from one stack to another, a word at a time and without a call: with every event there are two. */
static inline void frame_copy(struct trapframe *to, const struct trapframe *from) {
#pragma clang loop unroll(full)
    for (u64 i = 0; i < sizeof *to / sizeof(u64); i++)
        ((u64 *)to)[i] = ((const volatile u64 *)from)[i];
}

/* trap.c */
void inject(struct trapframe *, u64 vector, u64 error, u64 address);
bool in_container_kernel(const struct trapframe *);

/* hypercall.c */
void hypercall(struct trapframe *);
void back_to_user(struct trapframe *, u64 at);  /* … as the container kernel's frame at `at` says */

#endif
