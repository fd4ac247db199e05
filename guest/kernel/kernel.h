/* What nearly every file of the kernel needs. */
#ifndef KERNEL_H
#define KERNEL_H

#include <stdarg.h>

#include "errno.h"
#include "layout.h"
#include "lib/string.h"
#include "types.h"

/* Virtual memory, as the kernel sees it:
 *
 *   0x0000000000000000 ─ 0x00007fffffffefff   the program
 *   0xffff888000000000 ─                      all physical memory, in order: the direct map
 *   0xffffffff80000000 ─                      the kernel's image
 */
#define USER_TOP 0x00007ffffffff000UL

/* Physical memory in the direct map. */
static inline void *direct(u64 physical) { return (void *)(physical + DIRECT_MAP); }
static inline u64 physical(const void *p) { return (u64)p - DIRECT_MAP; }

/* print.c: messages on COM2.  %s %c %d %u %x %o (and l forms); widths for numbers; %x says 0x where it has none. */
void print(const char *format, ...) __attribute__((format(printf, 1, 2)));
void panic(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));
u64 format(char *to, u64 size, const char *format, ...) __attribute__((format(printf, 3, 4)));
u64 format_list(char *to, u64 size, const char *format, va_list);

/* options.c: the kernel's command line. */
u64 option(const char *name, u64 otherwise);
bool option_is(const char *name, const char *word);
bool option_given(const char *name);

#endif
