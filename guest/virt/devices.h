/* The devices of a virtual machine, for every host that runs one: two UARTs, two 8259s, a local APIC with its timer, and a
 * port that ends it.  The host's core (host.h) gives them console, clock and timer. */
#ifndef DEVICES_H
#define DEVICES_H

#include "types.h"

#define UART_FIFO 64

struct vuart {
    u16 port;
    int stream, line;           /* of the host's console (platform/console.h); of the 8259s */
    u8 ier, lcr, mcr, fcr, scratch, divisor[2];
    bool empty_holds;           /* the interrupt "holding register empty" has not been read yet */
    bool carrier, carrier_fell; /* DCD: there is input still; it has changed */
    bool more;                  /* the host's own FIFO may hold bytes */
    u8 fifo[UART_FIFO];
    u64 begin, count;
};

struct v8259 {
    u8 irr, isr, imr, lines;
    u8 vector;                  /* of line 0 */
    int icw;                    /* the initialization word that comes next; 0: none */
    bool wants_icw4, shows_isr;
};

struct vpic { struct v8259 master, slave; };

struct vapic {
    u64 base;                   /* IA32_APIC_BASE */
    u32 spurious, lvt_timer, lvt_lint0, lvt_lint1, lvt_error, tpr;
    bool timer_rang;            /* in IRR */
    bool timer_serving;         /* in ISR */
};

struct devices {
    struct vuart com[2];
    struct vpic pic;
    struct vapic apic;
};

/* ports.c: false = the port is nobody's.  A block is what INS or OUTS moves, bytes. */
void devices_init(struct devices *, bool has_input);
bool port_read(struct devices *, u16 port, u64 size, u32 *value);
bool port_write(struct devices *, u16 port, u64 size, u32 value);
bool port_read_block(struct devices *, u16 port, u8 *to, u64 count);
bool port_write_block(struct devices *, u16 port, const u8 *from, u64 count);
/* What the host has heard for this container (`waiting` of host.h): the timer, a UART. */
void devices_notice(struct devices *, u64 waiting);
/* The vector that the processor is to take, or -1; and take it. */
int  devices_pending(const struct devices *);
int  devices_acknowledge(struct devices *);

/* uart.c */
void vuart_init(struct vuart *, u16 port, int stream, int line, bool has_input);
u8   vuart_read(struct vuart *, int reg);
void vuart_write(struct vuart *, int reg, u8 value);
u64  vuart_read_block(struct vuart *, u8 *to, u64 count);       /* how many bytes there were */
void vuart_write_block(struct vuart *, const u8 *from, u64 count);
void vuart_notice(struct vuart *);              /* the host's UART has something new */
bool vuart_interrupts(const struct vuart *);

/* pic.c */
u8   vpic_read(struct vpic *, u16 port);
void vpic_write(struct vpic *, u16 port, u8 value);
void vpic_line(struct vpic *, int line, bool up);
int  vpic_pending(const struct vpic *);         /* its vector, or -1 */
int  vpic_acknowledge(struct vpic *);

/* apic.c: registers by their offset in the page, false = no such register, or no such value. */
void vapic_init(struct vapic *);
bool vapic_read(const struct vapic *, u32 offset, u64 *value);
bool vapic_write(struct vapic *, u32 offset, u64 value);
bool vapic_set_base(struct vapic *, u64 value);
void vapic_timer(struct vapic *);               /* the deadline has passed */
int  vapic_timer_pending(const struct vapic *); /* its vector, or -1 */
bool vapic_takes_extint(const struct vapic *);  /* what the 8259s want comes through LINT0 */

#endif
