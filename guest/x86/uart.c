/* COM1: the program's input and output.  COM2: its errors, the kernel's messages, and what is told to the kernel while it runs.
 * The debug console of QEMU and its BIOSes: what changed in volumes, any number of bytes at once.
 * A 16550 takes 16 bytes when its holding register is empty, a 16750 takes 64. */
#include "errno.h"
#include "machine.h"
#include "platform/console.h"
#include "x86.h"

#define COM1 0x3f8
#define COM2 0x2f8
#define DEBUGCON 0x402
#define DATA 0
#define IER 1
#define IIR 2                   /* read */
#define FCR 2                   /* write */
#define LCR 3
#define MCR 4
#define LSR 5
#define MSR 6
#define LSR_DR 0x01
#define LSR_THRE 0x20
#define LSR_TEMT 0x40           /* holding and shift register are empty */
#define MSR_DCD 0x80
#define IIR_CAUSE 0x0f
#define IIR_DATA 0x04           /* as many bytes as FCR's trigger level wants are there */
#define IIR_64 0x20             /* a 16750, whose FIFO holds 64 bytes */

static u64 fifo;

static void init(u16 port) {
    outb(port + IER, 0);
    outb(port + LCR, 0x80);     /* 115200 baud, 8n1 */
    outb(port + DATA, 1);
    outb(port + IER, 0);
    outb(port + FCR, 0xe7);     /* FIFO on, empty, of 64 bytes if it can; the trigger level is 14 bytes, or 56 */
    fifo = inb(port + IIR) & IIR_64 ? 64 : 16;
    outb(port + LCR, 3);
    outb(port + MCR, 0x0b);     /* DTR, RTS, OUT2: interrupts reach the 8259 */
}

void uart_init(void) {
    init(COM1);
    init(COM2);
    outb(COM1 + IER, 0x09);     /* received data, and the carrier that falls at the end of input */
    outb(COM2 + IER, 0x01);
}

static u16 port_of(int stream) { return stream == 2 ? COM2 : COM1; }

void plat_console_write(int stream, const u8 *from, u64 count) {
    u16 port = port_of(stream);

    if (stream == 3) {
        outsb(DEBUGCON, from, count);
        return;
    }
    while (count) {
        u64 n = MIN(count, fifo);
        while (!(inb(port + LSR) & LSR_THRE))
            ;
        outsb(port, from, n);
        from += n;
        count -= n;
    }
}

/* Wait until the last byte is on the wire: nothing leaves a machine that is off. */
void uart_drain(void) {
    while (!(inb(COM1 + LSR) & LSR_TEMT) || !(inb(COM2 + LSR) & LSR_TEMT))
        ;
}

i64 plat_console_read(int stream, u8 *to, u64 count) {
    u16 port = port_of(stream);
    u64 got = 0, n;

    while (got < count && (inb(port + IIR) & IIR_CAUSE) == IIR_DATA) {
        n = MIN(count - got, fifo - fifo / 8);
        insb(port + DATA, to + got, n);
        got += n;
    }
    while (got < count && inb(port + LSR) & LSR_DR)
        to[got++] = inb(port + DATA);
    if (got)
        return (i64)got;
    return inb(port + MSR) & MSR_DCD ? -EAGAIN : 0;
}
