/* Bytes and strings (string.c). */
#ifndef STRING_H
#define STRING_H

#include "types.h"

void *memcpy(void *to, const void *from, u64 n);
void *memmove(void *to, const void *from, u64 n);
void *memset(void *at, int byte, u64 n);
int memcmp(const void *, const void *, u64 n);
u64 strlen(const char *);
u64 strnlen(const char *, u64 limit);
int strcmp(const char *, const char *);
void copy_string(char *to, const char *from, u64 size);    /* truncated, always terminated */
void clear_page(void *page);

#endif
