/* Requests to Pager, with the first free page as the list. */
#ifndef REQUESTS_H
#define REQUESTS_H

#include "hostile.h"
#include "pager.h"

static inline u64 list_page(void) { return ROUND_UP(boot->free_start, PAGE_SIZE); }
static inline u64 page(u64 n) { return list_page() + (n + 1) * PAGE_SIZE; }
static inline volatile u64 *word_of(u64 gpa) { return (volatile u64 *)(GK_DIRECT + gpa); }
static inline void put(u64 i, u64 word) { word_of(list_page())[i] = word; }
static inline i64 ask(u64 unbinds, u64 binds) { return hypercall(HC_PAGER, list_page(), unbinds << 32 | binds, 0, 0); }

#endif
