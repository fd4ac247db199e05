/* Bytes and strings: eight bytes at a time, since every access costs an emulator the same. */
#include "string.h"

typedef u64 __attribute__((may_alias, aligned(1))) word;

void *memcpy(void *to, const void *from, u64 n) {
    u8 *t = to;
    const u8 *f = from;

    for (; n >= 32; n -= 32, t += 32, f += 32) {
        u64 a = ((const word *)f)[0], b = ((const word *)f)[1], c = ((const word *)f)[2], d = ((const word *)f)[3];
        ((word *)t)[0] = a, ((word *)t)[1] = b, ((word *)t)[2] = c, ((word *)t)[3] = d;
    }
    for (; n >= 8; n -= 8, t += 8, f += 8)
        *(word *)t = *(const word *)f;
    while (n--)
        *t++ = *f++;
    return to;
}

void *memmove(void *to, const void *from, u64 n) {
    u8 *t = to;
    const u8 *f = from;

    if (t <= f || t >= f + n)
        return memcpy(to, from, n);     /* which only ever goes upwards */
    while (n--)
        t[n] = f[n];
    return to;
}

void *memset(void *at, int byte, u64 n) {
    u8 *t = at;
    u64 pattern = (u8)byte * 0x0101010101010101UL;

    for (; n >= 32; n -= 32, t += 32)
        ((word *)t)[0] = pattern, ((word *)t)[1] = pattern, ((word *)t)[2] = pattern, ((word *)t)[3] = pattern;
    while (n--)
        *t++ = (u8)byte;
    return at;
}

void clear_page(void *page) { memset(page, 0, PAGE_SIZE); }

int memcmp(const void *left, const void *right, u64 n) {
    const u8 *a = left, *b = right;

    for (; n; n--, a++, b++)
        if (*a != *b)
            return *a < *b ? -1 : 1;
    return 0;
}

u64 strlen(const char *s) {
    u64 n = 0;

    while (s[n])
        n++;
    return n;
}

u64 strnlen(const char *s, u64 limit) {
    u64 n = 0;

    while (n < limit && s[n])
        n++;
    return n;
}

int strcmp(const char *a, const char *b) {
    while (*a && *a == *b)
        a++, b++;
    return (u8)*a - (u8)*b;
}

void copy_string(char *to, const char *from, u64 size) {
    u64 n = strnlen(from, size - 1);

    memcpy(to, from, n);
    to[n] = 0;
}
