/* The words of the machine. */
#ifndef TYPES_H
#define TYPES_H

#include <stdbool.h>
#include <stddef.h>

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long u64;
typedef signed char i8;
typedef short i16;
typedef int i32;
typedef long i64;

#define PAGE_SIZE 4096UL
#define PAGE_SHIFT 12
#define PAGE_MASK (PAGE_SIZE - 1)

#define ROUND_DOWN(x, a) ((x) & ~((u64)(a) - 1))
#define ROUND_UP(x, a) ROUND_DOWN((x) + (a) - 1, a)
#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define MAX(a, b) ((a) > (b) ? (a) : (b))
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

#endif
