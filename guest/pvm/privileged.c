/* What a guest's kernel may still do as if it were at ring 0: the instruction traps, and the host does it. */
#include "decode.h"
#include "pvm.h"
#include "x86.h"

#define SYNTHETIC_ADDRESS 0xffffffffff4d5650UL

static void set_register(u64 *to, u64 value, u8 size) {
    if (size == 4)
        *to = (u32)value;
    else
        memcpy(to, &value, size);
}

/* A UART's line that rises is an interrupt. */
static void look_at_lines(void) {
    struct vcpu *v = &self->vcpu;

    for (int i = 0; i < 2; i++) {
        bool now = vuart_interrupts(&v->devices.com[i]);
        if (now && !v->interrupts[i])
            self->waiting |= 1UL << v->devices.com[i].line;
        v->interrupts[i] = now;
    }
}

/* INS and OUTS, with REP or without: as much as is in one page.  The rest comes with the same instruction again, so that
 * interrupts come between.  False: its memory is not mapped, so it faults as it would. */
static bool string(struct trapframe *tf, const struct insn *i) {
    struct devices *d = &self->vcpu.devices;
    bool in = i->opcode < 0x6e;
    u64 *address = in ? &tf->rdi : &tf->rsi, left = i->repeat ? tf->rcx : 1;
    u16 port = (u16)tf->rdx;

    if (i->size != 1 || tf->rflags & 1 << 10)
        return false;           /* upwards, bytes: what drivers use */
    if (!left)
        return true;
    u64 part = MIN(left, PAGE_SIZE - (*address & PAGE_MASK));
    u8 *bytes = guest_bytes(*address, part, in ? PF_WRITE : 0);
    if (!bytes)
        return false;
    if (!in)
        port_write_block(d, port, bytes, part);
    else if (!port_read_block(d, port, bytes, part))
        memset(bytes, 0xff, part);
    if (in)
        shadow_stored(&self->vcpu.shadows, host_physical(bytes), part);     /* it may be a table */
    *address += part;
    if (i->repeat && (tf->rcx -= part))
        tf->rip -= i->length;
    return true;
}

/* A port that nobody has reads as ones. */
static bool port(struct trapframe *tf, const struct insn *i) {
    u16 number = i->opcode < 0xe8 ? (u8)i->immediate : (u16)tf->rdx;
    u8 size = MIN(i->size, 4);
    u32 value = (u32)tf->rax;

    if (i->opcode & 2) {
        port_write(&self->vcpu.devices, number, size, value);
        return true;
    }
    if (!port_read(&self->vcpu.devices, number, size, &value))
        value = ~0u;
    set_register(&tf->rax, value, size);
    return true;
}

static bool msr(struct trapframe *tf, bool write) {
    u64 value = (u32)tf->rax | tf->rdx << 32;

    if (write ? !write_msr((u32)tf->rcx, value) : !read_msr((u32)tf->rcx, &value))
        return false;
    if (!write)
        tf->rax = (u32)value, tf->rdx = value >> 32;
    return true;
}

static bool invalidate(struct trapframe *tf, const struct insn *i, const u8 *behind, u64 left) {
    if (!i->memory || (i->modrm >> 3 & 7) != 7)
        return false;
    if (i->address == SYNTHETIC_ADDRESS && left >= 2 && behind[0] == 0x0f && behind[1] == 0xa2) {
        synthetic_cpuid(tf);
        tf->rip += 2;
    } else {
        drop_page(i->address);
        self->vcpu.shadows.flush = true;
    }
    return true;
}

/* CR3 alone: the others are as PVM has them, and nobody changes them. */
static bool control(struct trapframe *tf, const struct insn *i) {
    if (i->memory || i->reg != 3)
        return false;
    if (i->opcode == 0x0f20)
        *register_of(tf, i->rm) = self->vcpu.cr3;
    else if (!load_cr3(*register_of(tf, i->rm)))
        return false;
    else
        shadows_sync(&self->vcpu.shadows), self->vcpu.shadows.flush = true;
    return true;
}

bool emulate(struct trapframe *tf) {
    u8 code[15];
    u64 n = fetch(tf, code, sizeof code);
    struct insn i;
    bool done = false;

    if (!decode(code, n, tf, &i))
        return false;
    switch (i.opcode) {
    case 0x6c: case 0x6e: done = string(tf, &i); look_at_lines(); break;
    case 0xe4: case 0xe5: case 0xe6: case 0xe7: case 0xec: case 0xed: case 0xee: case 0xef: done = port(tf, &i); look_at_lines(); break;
    case 0x0f01: done = invalidate(tf, &i, code + i.length, n - i.length); break;
    case 0x0f20: case 0x0f22: done = control(tf, &i); break;
    case 0x0f30: case 0x0f32: done = msr(tf, i.opcode == 0x0f30); break;
    }
    if (done)
        tf->rip += i.length;
    return done;
}
