/* Two 8259s, the second one on line 2 of the first: fixed priorities, edges.
 * Source: Intel 8259A data sheet. */
#include "devices.h"
#include "kernel.h"

#define CASCADE 2
#define ICW1 0x10               /* in a write to the first port */
#define ICW1_ICW4 0x01
#define OCW3 0x08
#define OCW2_EOI 0x20
#define OCW2_SPECIFIC 0x40
#define OCW3_READ 0x02          /* bit 0 says which: IRR or ISR */
#define SPURIOUS 7

static u8 lowest(u8 lines) { return lines & -lines; }

/* The line that asks and is not held off by one as urgent that is being served; 0 = none. */
static u8 request(const struct v8259 *c) {
    u8 line = lowest(c->irr & ~c->imr);

    return c->isr && lowest(c->isr) <= line ? 0 : line;
}

static int number(u8 line) { return __builtin_ctz(line); }

/* The slave's request is the master's line 2. */
static void cascade(struct vpic *p) {
    if (request(&p->slave))
        p->master.irr |= 1 << CASCADE;
    else
        p->master.irr &= ~(1 << CASCADE);
}

void vpic_line(struct vpic *p, int line, bool up) {
    struct v8259 *c = line < 8 ? &p->master : &p->slave;
    u8 bit = (u8)(1 << (line & 7));

    if (up && !(c->lines & bit))
        c->irr |= bit;
    c->lines = up ? c->lines | bit : c->lines & ~bit;
    if (!up)
        c->irr &= ~bit;         /* it was gone before anybody took it */
    cascade(p);
}

int vpic_pending(const struct vpic *p) {
    u8 line = request(&p->master);

    if (!line)
        return -1;
    if (line == 1 << CASCADE)
        return p->slave.vector + number(request(&p->slave));
    return p->master.vector + number(line);
}

static int take(struct v8259 *c) {
    u8 line = request(c);

    if (!line)
        return c->vector + SPURIOUS;
    c->isr |= line;
    c->irr &= ~line;
    return c->vector + number(line);
}

int vpic_acknowledge(struct vpic *p) {
    bool slave = request(&p->master) == 1 << CASCADE;
    int vector = take(&p->master);

    if (slave)
        vector = take(&p->slave);
    cascade(p);
    return vector;
}

static struct v8259 *chip(struct vpic *p, u16 port) { return port & 0x80 ? &p->slave : &p->master; }

u8 vpic_read(struct vpic *p, u16 port) {
    struct v8259 *c = chip(p, port);

    if (port & 1)
        return c->imr;
    return c->shows_isr ? c->isr : c->irr;
}

static void command(struct v8259 *c, u8 value) {
    if (value & ICW1) {
        *c = (struct v8259){.lines = c->lines, .icw = 2, .wants_icw4 = value & ICW1_ICW4};
    } else if (value & OCW3) {
        if (value & OCW3_READ)
            c->shows_isr = value & 1;
    } else if (value & OCW2_EOI) {
        c->isr &= ~(value & OCW2_SPECIFIC ? 1 << (value & 7) : lowest(c->isr));
    }
}

static void data(struct v8259 *c, u8 value) {
    if (!c->icw)
        c->imr = value;
    else if (c->icw == 2)
        c->vector = value & 0xf8;
    if (c->icw)
        c->icw = c->icw == 2 ? 3 : c->icw == 3 && c->wants_icw4 ? 4 : 0;
}

void vpic_write(struct vpic *p, u16 port, u8 value) {
    if (port & 1)
        data(chip(p, port), value);
    else
        command(chip(p, port), value);
    cascade(p);
}
