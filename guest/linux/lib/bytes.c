/* More about bytes than program.h has. */
#include "linux.h"

i32 same(const void *a, const void *b, u64 n) {
    for (u64 i = 0; i < n; i++)
        if (((const u8 *)a)[i] != ((const u8 *)b)[i])
            return 0;
    return 1;
}

i32 contains(const char *t, const char *part) {
    u64 n = strlen(part);

    for (u64 left = strlen(t); left >= n; t++, left--)
        if (same(t, part, n))
            return 1;
    return 0;
}

char *text(char *buffer, i64 n) {
    buffer[n < 0 ? 0 : n] = 0;
    return buffer;
}

char *decimal(char *to, u64 value) {
    char digits[24];
    int n = 0, at = 0;

    do
        digits[n++] = '0' + value % 10;
    while (value /= 10);
    while (n)
        to[at++] = digits[--n];
    to[at] = 0;
    return to;
}

u64 checksum(u64 before, const void *at, u64 n) {
    for (u64 i = 0; i < n; i++)
        before = before * 31 + ((const u8 *)at)[i];
    return before;
}
