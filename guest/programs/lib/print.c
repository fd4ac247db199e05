/* Formatted output, one write for each call. */
#include <stdarg.h>

#include "program.h"

struct line { char text[512]; u64 used; };

static void put(struct line *l, char c) {
    if (l->used < sizeof l->text)
        l->text[l->used++] = c;
}

static void put_number(struct line *l, u64 value, u64 base) {
    char digits[24];
    int n = 0;

    do
        digits[n++] = "0123456789abcdef"[value % base];
    while (value /= base);
    while (n)
        put(l, digits[--n]);
}

void print(const char *f, ...) {
    struct line l = {.used = 0};
    va_list args;

    va_start(args, f);
    for (; *f; f++) {
        if (*f != '%') {
            put(&l, *f);
            continue;
        }
        int wide = *++f == 'l';
        f += wide;
        if (*f == 's') {
            for (const char *s = va_arg(args, const char *); *s; s++)
                put(&l, *s);
        } else if (*f == 'c') {
            put(&l, (char)va_arg(args, int));
        } else if (*f == 'd') {
            i64 v = wide ? va_arg(args, i64) : va_arg(args, i32);
            if (v < 0)
                put(&l, '-');
            put_number(&l, v < 0 ? -(u64)v : (u64)v, 10);
        } else if (*f == 'u' || *f == 'x') {
            put_number(&l, wide ? va_arg(args, u64) : va_arg(args, u32), *f == 'x' ? 16 : 10);
        } else {
            put(&l, *f);
        }
    }
    va_end(args);
    syscall(SYS_write, 1, l.text, l.used);
}
