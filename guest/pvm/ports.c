/* A guest's ports: two UARTs with 64-byte FIFOs, the debug console and the port that ends the machine.  What is sent goes
 * to the host's own UARTs; only the first container has input and volumes.  Any other port reads as ones.
 * Source: data sheets of the 16550D and TL16C750. */
#include "platform/console.h"
#include "pvm.h"

#define COM1 0x3f8
#define COM2 0x2f8
#define DEBUGCON 0x402
#define DEBUG_EXIT 0xf4
#define DATA 0
#define IER 1
#define IIR 2
#define LCR 3
#define MCR 4
#define LSR 5
#define MSR 6
#define SCRATCH 7
#define LCR_DLAB 0x80
#define LSR_DR 0x01
#define LSR_EMPTY 0x60          /* holding and shift register */
#define MSR_DCD 0x80
#define IIR_DATA 0x04
#define IIR_NONE 0x01
#define IIR_FIFO_64 0xe0
#define TRIGGER 56              /* so many bytes at least are there when IIR says IIR_DATA */

static struct uart *uart_at(u16 port, int *stream) {
    if ((port & ~7) != COM1 && (port & ~7) != COM2)
        return NULL;
    *stream = (port & ~7) == COM1 ? 0 : 2;
    return &self->vcpu.uart[*stream != 0];
}

/* Take from the host's UART what is there, if few bytes are left. */
static u64 available(struct uart *u, int stream) {
    u64 left = u->count - u->taken;

    if (left >= TRIGGER || u->ended)
        return left;
    memmove(u->received, u->received + u->taken, left);
    u->taken = 0;
    u->count = left;
    i64 got = self->number ? 0 : plat_console_read(stream, u->received + left, sizeof u->received - left);
    if (got == 0)
        u->ended = true;
    else if (got > 0)
        u->count += (u64)got;
    return u->count;
}

static u8 read_byte(struct uart *u, int stream) { return available(u, stream) ? u->received[u->taken++] : 0; }

static u8 uart_in(struct uart *u, int stream, u16 reg) {
    switch (reg) {
    case DATA: return u->lcr & LCR_DLAB ? 1 : read_byte(u, stream);
    case IER: return u->lcr & LCR_DLAB ? 0 : u->ier;
    case IIR: return IIR_FIFO_64 | (available(u, stream) >= TRIGGER ? IIR_DATA : IIR_NONE);
    case LCR: return u->lcr;
    case MCR: return u->mcr;
    case LSR: return LSR_EMPTY | (available(u, stream) ? LSR_DR : 0);
    case MSR: return available(u, stream) || !u->ended ? MSR_DCD : 0;
    }
    return u->scratch;
}

static void uart_out(struct uart *u, int stream, u16 reg, u8 value) {
    switch (reg) {
    case DATA: if (!(u->lcr & LCR_DLAB)) plat_console_write(stream, &value, 1); break;
    case IER: u->ier = value; break;
    case LCR: u->lcr = value; break;
    case MCR: u->mcr = value; break;
    case SCRATCH: u->scratch = value;
    }
}

u32 port_in(u16 port, u32 size) {
    int stream;
    struct uart *u = uart_at(port, &stream);

    return u && size == 1 ? uart_in(u, stream, port & 7) : ~0u >> (32 - 8 * size);
}

void port_out(u16 port, u32 size, u32 value) {
    int stream;
    struct uart *u = uart_at(port, &stream);

    if (u && size == 1)
        uart_out(u, stream, port & 7, (u8)value);
    else if (port == DEBUG_EXIT)
        pv_exit(value);
}

i64 port_in_string(u16 port, u8 *to, u64 count) {
    for (u64 i = 0; i < count; i++)
        to[i] = (u8)port_in(port, 1);
    return (i64)count;
}

void port_out_string(u16 port, const u8 *from, u64 count) {
    int stream;

    if (port == DEBUGCON) {
        if (!self->number)
            plat_console_write(3, from, count);
    } else if (uart_at(port, &stream) && !(port & 7)) {
        plat_console_write(stream, from, count);
    } else {
        for (u64 i = 0; i < count; i++)
            port_out(port, 1, from[i]);
    }
}
