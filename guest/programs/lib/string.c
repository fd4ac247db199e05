/* Bytes, strings, and numbers in them. */
#include "program.h"

u64 strlen(const char *s) {
    u64 n = 0;

    while (s[n])
        n++;
    return n;
}

int strcmp(const char *a, const char *b) {
    while (*a && *a == *b)
        a++, b++;
    return (u8)*a - (u8)*b;
}

void *memcpy(void *to, const void *from, u64 n) {
    for (u64 i = 0; i < n; i++)
        ((u8 *)to)[i] = ((const u8 *)from)[i];
    return to;
}

void *memset(void *at, int byte, u64 n) {
    for (u64 i = 0; i < n; i++)
        ((u8 *)at)[i] = (u8)byte;
    return at;
}

u64 number(const char *s) {
    u64 value = 0;

    while (*s >= '0' && *s <= '9')
        value = value * 10 + (u64)(*s++ - '0');
    return value;
}
