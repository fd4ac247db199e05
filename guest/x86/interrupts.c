/* The two 8259s: lines 0..15 become vectors VEC_IRQ0 and up, all masked but those in use. */
#include "machine.h"
#include "x86.h"

#define MASTER 0x20
#define SLAVE 0xa0
#define EOI 0x20
#define CASCADE 2

static u16 masked = 0xffff;

static void write_masks(void) {
    outb(MASTER + 1, (u8)masked);
    outb(SLAVE + 1, (u8)(masked >> 8));
}

void pic_init(void) {
    outb(MASTER, 0x11);                 /* ICW1: edges, cascade, ICW4 follows */
    outb(SLAVE, 0x11);
    outb(MASTER + 1, VEC_IRQ0);         /* ICW2: vectors */
    outb(SLAVE + 1, VEC_IRQ0 + 8);
    outb(MASTER + 1, 1 << CASCADE);     /* ICW3 */
    outb(SLAVE + 1, CASCADE);
    outb(MASTER + 1, 1);                /* ICW4: 8086 */
    outb(SLAVE + 1, 1);
    masked &= (u16)~(1 << CASCADE);
    pic_unmask(3);                      /* COM2 */
    pic_unmask(4);                      /* COM1 */
}

void pic_unmask(int line) {
    masked &= (u16)~(1 << line);
    write_masks();
}

void interrupt_done(u64 vector) {
    if (vector == VEC_IRQ0 && timer_is_local) {
        lapic_write(LAPIC_EOI, 0);
        return;
    }
    if (vector >= VEC_IRQ0 + 8)
        outb(SLAVE, EOI);
    outb(MASTER, EOI);
}
