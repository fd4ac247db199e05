/* A bare machine for images that try accesses: what boot.S, access.S, machine.c and console.c give.
 *
 *   linear                     physical
 *   0x0000000000  1 GiB        0          the image; supervisor, key 0, one large page
 *   0x8000000000  2 MiB        0          the same for ring 3, read-only: the stubs run here
 *   above                                 the accesses under test
 */
#ifndef BARE_H
#define BARE_H

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long u64;

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* Bits of a paging-structure entry. */
#define ENTRY_P (1UL << 0)
#define ENTRY_RW (1UL << 1)
#define ENTRY_US (1UL << 2)
#define ENTRY_A (1UL << 5)
#define ENTRY_D (1UL << 6)
#define ENTRY_PS (1UL << 7)
#define ENTRY_XD (1UL << 63)
#define ENTRY_KEY(k) ((u64)(k) << 59)

/* Bits of a page fault's error code. */
#define PF_P 1
#define PF_W 2
#define PF_U 4
#define PF_RSVD 8
#define PF_I 16
#define PF_PK 32

/* Controls under test, one bit each. */
#define CONTROL_WP (1u << 0)
#define CONTROL_SMEP (1u << 1)
#define CONTROL_SMAP (1u << 2)
#define CONTROL_PKE (1u << 3)
#define CONTROL_PKS (1u << 4)
#define CONTROL_NXE (1u << 5)

#define RFLAGS_AC (1u << 18)
#define VECTOR_PF 14
#define VECTOR_DONE 0x20        /* the stub's own INT: the access went through */

enum kind { READ, WRITE, EXECUTE, IMPLICIT_READ, IMPLICIT_WRITE };

struct outcome {                /* filled in by access.S */
    u64 vector, error, rip, value;
};

/* machine.c */
extern struct outcome outcome;
u32 machine_init(void);                         /* gives the controls that this processor has */
void set_control(u32 control);
void set_pkru(u32 pkru);
void set_pkrs(u32 pkrs);
void flush(void);
u64 *top_table(void);
void attempt(enum kind kind, int user, int ac, u64 address, u32 value);
u64 fault_address(void);                        /* CR2 */
int rip_is_right(enum kind kind, int user, u64 address);
__attribute__((noreturn)) void leave(u32 status);

/* console.c */
void console_init(void);
void put_string(const char *s);
void put_char(char c);
void put_hex(u64 value);
void put_number(u64 value);
void console_flush(void);
void console_drain(void);                       /* until the last bit is sent */
u64 option(const char *name, u64 otherwise);    /* name=number on the command line */

void bare_main(void);                           /* the image's own */
extern const char *command_line;

#endif
