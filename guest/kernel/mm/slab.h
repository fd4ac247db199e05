/* Small kernel objects. */
#ifndef SLAB_H
#define SLAB_H

#include "types.h"

void *kmalloc(u64 size);        /* zeroed; NULL if there is no memory */
void kfree(void *);             /* NULL does nothing */
void *kgrow(void *old, u64 old_size, u64 size);    /* moves the content; the old one is freed on success only */

#endif
