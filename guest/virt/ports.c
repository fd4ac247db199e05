/* Which device has which port, and which interrupt comes first. */
#include "devices.h"
#include "host.h"
#include "platform/console.h"
#include "virtio.h"

#define COM1 0x3f8
#define COM2 0x2f8
#define DEBUGCON 0x402
#define DEBUG_EXIT 0xf4
#define TIMER (1UL << 0)        /* in `waiting` */

void devices_init(struct devices *d, bool has_input) {
    *d = (struct devices){0};
    vuart_init(&d->com[0], COM1, 1, 4, has_input);
    vuart_init(&d->com[1], COM2, 2, 3, has_input);
    vapic_init(&d->apic);
}

static bool is_pic(u16 port) { return (port & ~0x81) == 0x20; }

static struct vuart *uart_at(struct devices *d, u16 port) {
    for (int i = 0; i < 2; i++)
        if ((port & ~7) == d->com[i].port)
            return &d->com[i];
    return NULL;
}

static void update(struct devices *d, const struct vuart *u) { vpic_line(&d->pic, u->line, vuart_interrupts(u)); }

bool port_read(struct devices *d, u16 port, u64 size, u32 *value) {
    struct vuart *u = uart_at(d, port);

    if (size != 1)
        return false;
    if (u) {
        *value = vuart_read(u, port & 7);
        update(d, u);
    } else if (is_pic(port)) {
        *value = vpic_read(&d->pic, port);
    } else {
        return false;
    }
    return true;
}

bool port_write(struct devices *d, u16 port, u64 size, u32 value) {
    struct vuart *u = uart_at(d, port);

    if (port == DEBUG_EXIT)
        container_ended((int)value & 0xff);
    if (size != 1)
        return false;
    if (u) {
        vuart_write(u, port & 7, (u8)value);
        update(d, u);
    } else if (is_pic(port)) {
        vpic_write(&d->pic, port, (u8)value);
    } else {
        return port == DEBUGCON && port_write_block(d, port, (u8 *)&value, 1);
    }
    return true;
}

bool port_read_block(struct devices *d, u16 port, u8 *to, u64 count) {
    struct vuart *u = uart_at(d, port);

    if (!u || port != u->port)
        return false;
    u64 n = vuart_read_block(u, to, count);
    memset(to + n, 0, count - n);
    update(d, u);
    return true;
}

/* Only the first container has volumes, so only its debug console leads anywhere. */
bool port_write_block(struct devices *d, u16 port, const u8 *from, u64 count) {
    struct vuart *u = uart_at(d, port);

    if (u && port == u->port) {
        vuart_write_block(u, from, count);
        update(d, u);
        return true;
    }
    if (port == DEBUGCON && !self->number)
        plat_console_write(3, from, count);
    return port == DEBUGCON;
}

void devices_notice(struct devices *d, u64 waiting) {
    if (waiting & TIMER)
        vapic_timer(&d->apic);
    if (waiting >> VIRTIO_LINE & 1) {   /* an edge */
        vpic_line(&d->pic, VIRTIO_LINE, false);
        vpic_line(&d->pic, VIRTIO_LINE, true);
    }
    for (int i = 0; i < 2; i++)
        if (waiting >> d->com[i].line & 1) {
            vuart_notice(&d->com[i]);
            update(d, &d->com[i]);
        }
}

int devices_pending(const struct devices *d) {
    int timer = vapic_timer_pending(&d->apic);

    return timer >= 0 || !vapic_takes_extint(&d->apic) ? timer : vpic_pending(&d->pic);
}

int devices_acknowledge(struct devices *d) {
    int timer = vapic_timer_pending(&d->apic);

    if (timer < 0)
        return vpic_acknowledge(&d->pic);
    d->apic.timer_rang = false;
    d->apic.timer_serving = true;
    return timer;
}
