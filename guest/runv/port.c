/* IN, OUT, INS and OUTS.
 * Source: SDM volume 3, "Exit Qualification for I/O Instructions"; volume 2, INS, OUTS. */
#include "runv.h"
#include "x86.h"

#define FLAG_DF (1UL << 10)

struct io { u64 size; bool in, string, rep; u16 port; };

static struct io decode(u64 qualification) {
    return (struct io){
        .size = (qualification & 7) + 1, .in = qualification >> 3 & 1, .string = qualification >> 4 & 1,
        .rep = qualification >> 5 & 1, .port = (u16)(qualification >> 16),
    };
}

static void refuse(const struct io *io) { kill_container("it used a port that is not its own", io->port); }

/* An address or a count of the instruction, by its address size: 16, 32 or 64 bits. */
static u64 address_mask(void) {
    static const u64 masks[] = {0xffff, 0xffffffff, ~0UL};

    return masks[MIN(vmread(EXIT_INSTRUCTION_INFO) >> 7 & 7, 2UL)];
}

static void set_masked(u64 *r, u64 value, u64 mask) { *r = mask == 0xffff ? (*r & ~mask) | (value & mask) : value & mask; }

/* As much as lies within one page.  The rest of a REP comes with the same instruction again. */
static void string_exit(struct vcpu *v, const struct io *io) {
    u64 mask = address_mask(), *counter = &v->registers[RCX], *pointer = &v->registers[io->in ? RDI : RSI];
    u64 at = vmread(GUEST_LINEAR_ADDRESS), count = io->rep ? *counter & mask : 1, error;
    bool down = vmread(GUEST_RFLAGS) & FLAG_DF;

    if (!count) {
        finish_instruction(v);
        return;
    }
    if (io->size != 1)
        refuse(io);
    u64 part = down ? 1 : MIN(count, PAGE_SIZE - (at & PAGE_MASK));
    u8 *bytes = linear(at, io->in ? WRITE : READ, &error);
    if (!bytes) {
        write_cr2(at);
        inject_fault(v, VECTOR_PF, error);
        return;
    }
    if (!(io->in ? port_read_block(&v->devices, io->port, bytes, part) : port_write_block(&v->devices, io->port, bytes, part)))
        refuse(io);
    if (io->in && shadow_paging)
        spt_stored(bytes, part);
    set_masked(pointer, down ? *pointer - part : *pointer + part, mask);
    if (io->rep)
        set_masked(counter, count - part, mask);
    if (!io->rep || count == part)
        finish_instruction(v);
}

void port_exit(struct vcpu *v) {
    struct io io = decode(vmread(EXIT_QUALIFICATION));
    u64 *rax = &v->registers[RAX], mask = io.size == 4 ? 0xffffffff : (1UL << 8 * io.size) - 1;
    u32 value;

    if (io.string) {
        string_exit(v, &io);
        return;
    }
    if (!(io.in ? port_read(&v->devices, io.port, io.size, &value) : port_write(&v->devices, io.port, io.size, (u32)(*rax & mask))))
        refuse(&io);
    if (io.in)
        *rax = io.size == 4 ? value : (*rax & ~mask) | (value & mask);
    finish_instruction(v);
}
