/* Messages of the kernel, and the formatting they need. */
#include <stdarg.h>

#include "kernel.h"
#include "platform/console.h"

struct output { char *to; u64 used, size; };

static void put(struct output *o, char c) {
    if (o->used + 1 < o->size)
        o->to[o->used++] = c;
}

static void put_number(struct output *o, u64 value, u64 base, int width, char fill) {
    char digits[24];
    int n = 0;

    do
        digits[n++] = "0123456789abcdef"[value % base];
    while (value /= base);
    for (int i = n; i < width; i++)
        put(o, fill);
    while (n)
        put(o, digits[--n]);
}

static void put_all(struct output *o, const char *f, va_list args) {
    for (; *f; f++) {
        if (*f != '%') {
            put(o, *f);
            continue;
        }
        char fill = *++f == '0' ? '0' : ' ';
        int width = 0;
        while (*f >= '0' && *f <= '9')
            width = width * 10 + (*f++ - '0');
        bool wide = *f == 'l';
        f += wide;
        if (*f == 's') {
            for (const char *s = va_arg(args, const char *); *s; s++)
                put(o, *s);
        } else if (*f == 'c') {
            put(o, (char)va_arg(args, int));
        } else if (*f == 'd') {
            i64 v = wide ? va_arg(args, i64) : va_arg(args, i32);
            if (v < 0)
                put(o, '-');
            put_number(o, v < 0 ? -(u64)v : (u64)v, 10, width, fill);
        } else if (*f == 'u' || *f == 'x' || *f == 'o') {
            u64 v = wide ? va_arg(args, u64) : va_arg(args, u32);
            if (*f == 'x' && !width)
                put(o, '0'), put(o, 'x');
            put_number(o, v, *f == 'x' ? 16 : *f == 'o' ? 8 : 10, width, fill);
        } else {
            put(o, *f);
        }
    }
    o->to[o->used] = 0;
}

u64 format_list(char *to, u64 size, const char *f, va_list args) {
    struct output o = {to, 0, size};

    put_all(&o, f, args);
    return o.used;
}

u64 format(char *to, u64 size, const char *f, ...) {
    struct output o = {to, 0, size};
    va_list args;

    va_start(args, f);
    put_all(&o, f, args);
    va_end(args);
    return o.used;
}

static void print_line(const char *prefix, const char *f, va_list args) {
    char line[256];
    struct output o = {line, 0, sizeof line - 1};

    while (*prefix)
        put(&o, *prefix++);
    put_all(&o, f, args);
    line[o.used++] = '\n';
    plat_console_write(2, (u8 *)line, o.used);
}

void print(const char *f, ...) {
    va_list args;

    va_start(args, f);
    print_line("paracell: ", f, args);
    va_end(args);
}

/* The kernel cannot go on: say why, and stop the machine. */
void panic(const char *f, ...) {
    va_list args;

    va_start(args, f);
    print_line("paracell: kernel panic: ", f, args);
    va_end(args);
    plat_exit(255);
}
