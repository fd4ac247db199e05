/* A 16750 without a line: what is written goes to the host's console at once, so its transmitter is always empty.
 * Sources: National Semiconductor PC16550D, Texas Instruments TL16C750. */
#include "devices.h"
#include "host.h"
#include "platform/console.h"

enum { DATA, IER, IIR, LCR, MCR, LSR, MSR, SCRATCH, FCR = IIR };

#define DLAB 0x80               /* LCR: registers 0 and 1 are the divisor */
#define RTS 0x02                /* MCR: somebody reads */
#define OUT2 0x08               /* … interrupts reach the 8259 */
#define IER_DATA 0x01
#define IER_EMPTY 0x02
#define IER_MODEM 0x08
#define IIR_NONE 0x01
#define IIR_EMPTY 0x02
#define IIR_DATA 0x04
#define IIR_TIMEOUT 0x0c        /* fewer bytes than the trigger level */
#define IIR_FIFO 0xc0
#define FIFO_ON 0x01
#define FIFO_CLEAR 0x02
#define FIFO_64 0x20            /* FCR, while DLAB is set, and IIR */
#define LSR_DATA 0x01
#define LSR_EMPTY 0x60          /* holding and shift register */
#define MSR_LINES 0x30          /* CTS, DSR */
#define MSR_DCD 0x80
#define MSR_DCD_CHANGED 0x08

void vuart_init(struct vuart *u, u16 port, int stream, int line, bool has_input) {
    *u = (struct vuart){.port = port, .stream = stream, .line = line, .carrier = has_input, .more = has_input};
}

static u64 trigger_level(const struct vuart *u) {
    static const u8 levels[2][4] = {{1, 4, 8, 14}, {1, 16, 32, 56}};

    return u->fcr & FIFO_ON ? levels[!!(u->fcr & FIFO_64)][u->fcr >> 6] : 1;
}

static u8 cause(const struct vuart *u) {
    if (u->ier & IER_DATA && u->count)
        return u->count >= trigger_level(u) ? IIR_DATA : IIR_TIMEOUT;
    if (u->ier & IER_EMPTY && u->empty_holds)
        return IIR_EMPTY;
    return u->ier & IER_MODEM && u->carrier_fell ? 0 : IIR_NONE;
}

bool vuart_interrupts(const struct vuart *u) { return u->mcr & OUT2 && cause(u) != IIR_NONE; }

/* Take what the host's console has, if a reader may want more than there is.  Fewer bytes than there is room for: its
 * next one interrupts the host.  Before RTS they stay there, for a guest empties its FIFO when it begins. */
static void refill(struct vuart *u) {
    u64 room = (u->fcr & FIFO_64 ? UART_FIFO : 16) - u->count;

    if (!u->more || u->count >= trigger_level(u) || !(u->mcr & RTS))
        return;
    memmove(u->fifo, u->fifo + u->begin, u->count);
    i64 n = plat_console_read(u->stream, u->fifo + u->count, room);
    u->begin = 0;
    u->count += n > 0 ? (u64)n : 0;
    u->more = n == (i64)room;
    if (!n) {
        u->carrier = false;
        u->carrier_fell = true;
    }
}

void vuart_notice(struct vuart *u) {
    u->more = true;             /* without a carrier, too: COM2's line has a byte now and then */
    refill(u);
}

static u8 take_byte(struct vuart *u) {
    u8 byte = u->fifo[u->begin];

    if (!u->count)
        return 0;
    u->begin++;
    if (!--u->count)
        refill(u);
    return byte;
}

static u8 modem_status(struct vuart *u) {
    if (u->carrier)
        vuart_notice(u);        /* the end of input may have come without an interrupt */
    u8 status = MSR_LINES | (u->carrier || u->count ? MSR_DCD : 0) | (u->carrier_fell ? MSR_DCD_CHANGED : 0);
    u->carrier_fell = false;
    return status;
}

u8 vuart_read(struct vuart *u, int reg) {
    if (reg == IIR || reg == LSR)
        refill(u);              /* as a line goes on between two looks at it */
    u8 why = cause(u);

    switch (reg) {
    case DATA: return u->lcr & DLAB ? u->divisor[0] : take_byte(u);
    case IER: return u->lcr & DLAB ? u->divisor[1] : u->ier;
    case IIR:
        if (why == IIR_EMPTY)
            u->empty_holds = false;
        return why | (u->fcr & FIFO_ON ? IIR_FIFO | (u->fcr & FIFO_64) : 0);
    case LCR: return u->lcr;
    case MCR: return u->mcr;
    case LSR: return LSR_EMPTY | (u->count ? LSR_DATA : 0);
    case MSR: return modem_status(u);
    default: return u->scratch;
    }
}

void vuart_write(struct vuart *u, int reg, u8 value) {
    switch (reg) {
    case DATA:
        if (u->lcr & DLAB)
            u->divisor[0] = value;
        else
            vuart_write_block(u, &value, 1);
        break;
    case IER:
        if (u->lcr & DLAB) {
            u->divisor[1] = value;
            break;
        }
        u->empty_holds |= value & ~u->ier & IER_EMPTY;  /* enabling it asks at once */
        u->ier = value & 0x0f;
        break;
    case FCR:
        if (value & FIFO_CLEAR || !(value & FIFO_ON))
            u->count = 0;
        u->fcr = (value & 0xc1) | (u->lcr & DLAB ? value & FIFO_64 : u->fcr & FIFO_64);
        break;
    case LCR: u->lcr = value; break;
    case MCR:
        u->mcr = value & 0x1f;
        refill(u);
        break;
    case SCRATCH: u->scratch = value; break;
    }
}

void vuart_write_block(struct vuart *u, const u8 *from, u64 count) {
    if (u->lcr & DLAB)
        return;
    plat_console_write(u->stream, from, count);
    u->empty_holds = true;
}

u64 vuart_read_block(struct vuart *u, u8 *to, u64 count) {
    u64 n = 0;

    while (n < count && u->count && !(u->lcr & DLAB))
        to[n++] = take_byte(u);
    return n;
}
