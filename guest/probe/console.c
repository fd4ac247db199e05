/* COM1, and the options on the command line. */
#include "bare.h"

#define COM1 0x3f8
#define LSR_THRE 0x20
#define LSR_TEMT 0x40
#define FIFO 16

static char buffer[4096];
static u64 used;

static void outb(u16 port, u8 value) { asm volatile("outb %0, %1" :: "a"(value), "Nd"(port)); }

static u8 inb(u16 port) {
    u8 value;
    asm volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
    return value;
}

void console_init(void) {
    outb(COM1 + 1, 0);
    outb(COM1 + 3, 0x80);       /* 115200 baud, 8n1 */
    outb(COM1, 1);
    outb(COM1 + 1, 0);
    outb(COM1 + 3, 3);
    outb(COM1 + 2, 0xc7);       /* FIFO on, empty */
}

void console_flush(void) {
    for (u64 at = 0; at < used;) {
        u64 n = used - at < FIFO ? used - at : FIFO;
        const char *from = buffer + at;
        at += n;
        while (!(inb(COM1 + 5) & LSR_THRE))
            ;
        asm volatile("rep outsb" : "+S"(from), "+c"(n) : "d"(COM1) : "memory");
    }
    used = 0;
}

void console_drain(void) {
    console_flush();
    while (!(inb(COM1 + 5) & LSR_TEMT))
        ;
}

void put_char(char c) {
    buffer[used++] = c;
    if (used == sizeof buffer)
        console_flush();
}

void put_string(const char *s) {
    while (*s)
        put_char(*s++);
}

void put_hex(u64 value) {
    int shift = 60;

    while (shift && !(value >> shift))
        shift -= 4;
    for (; shift >= 0; shift -= 4)
        put_char("0123456789abcdef"[value >> shift & 15]);
}

void put_number(u64 value) {
    if (value >= 10)
        put_number(value / 10);
    put_char((char)('0' + value % 10));
}

u64 option(const char *name, u64 otherwise) {
    for (const char *s = command_line; s && *s;) {
        const char *n = name;
        while (*n && *s == *n)
            s++, n++;
        if (!*n && *s == '=') {
            u64 value = 0;
            for (s++; *s >= '0' && *s <= '9'; s++)
                value = value * 10 + (u64)(*s - '0');
            return value;
        }
        while (*s && *s != ' ')
            s++;
        while (*s == ' ')
            s++;
    }
    return otherwise;
}
