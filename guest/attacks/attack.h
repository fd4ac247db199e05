/* What every attack knows of the container kernel: addresses, in hexadecimal, on its command line.
 * An attack prints "read VALUE" or "wrote" if it got through; otherwise it is killed or says "refused". */
#ifndef ATTACK_H
#define ATTACK_H

#include "program.h"

#define PAGE 4096UL
#define PROT_NONE 0
#define PROT_READ 1
#define PROT_RW 3
#define PROT_RX 5
#define MAP_SHARED 1
#define MAP_PRIVATE 2
#define MAP_FIXED 0x10
#define MAP_ANONYMOUS 0x20

static inline u64 hexadecimal(const char *s) {
    u64 value = 0;
    for (; *s; s++)
        value = value << 4 | (u64)(*s <= '9' ? *s - '0' : (*s | 32) - 'a' + 10);
    return value;
}

static inline u8 *map(u64 size, u64 rights) {
    return (u8 *)syscall(SYS_mmap, 0, size, rights, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

static inline int refused(const char *what, i64 error) {
    print("refused: %s gives %ld\n", what, error);
    return 1;
}

/* Both at once: the next system call gives the rights back. */
static inline int plunder(u64 secret) {
    u64 value = *(volatile u64 *)secret;
    *(volatile u64 *)secret = 1;
    print("read %lx\nwrote\n", value);
    return 0;
}

/* A hypercall: write the secret to the console.  `way` is the instruction that goes in. */
#define HC_CONSOLE_WRITE 7
#define STEAL(way, secret) ({ i64 result_; \
    asm volatile(way : "=a"(result_) : "a"(HC_CONSOLE_WRITE), "D"(1), "S"(secret), "d"(8) : "rcx", "r11", "memory"); result_; })

/* Machine code is kept inverted, or the scanner would refuse the attack before it runs. */
static inline void write_inverted(u8 *to, const volatile u8 *code, u64 n) {
    for (u64 i = 0; i < n; i++)
        to[i] = (u8)~code[i];
}

/* Write code into a page that can be written, and ask for the right to run it.  0, or -errno. */
static inline i64 make_code(u8 *page, const volatile u8 *code, u64 n) {
    syscall(SYS_mprotect, page, PAGE, PROT_RW);
    write_inverted(page, code, n);
    return syscall(SYS_mprotect, page, PAGE, PROT_RX);
}

static inline void call(const void *code) { ((void (*)(void))code)(); }

#define I(byte) ((u8)~(byte))
#define CLEAR_REGISTERS I(0x31), I(0xc9), I(0x31), I(0xd2), I(0x31), I(0xc0)    /* xor ecx, ecx; xor edx, edx; xor eax, eax */
#define WRPKRU I(0x0f), I(0x01), I(0xef)
#define RET I(0xc3)

#endif
