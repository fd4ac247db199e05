/* Decode one instruction of 64-bit code: prefixes, opcode, ModR/M, immediate.
 * Source: SDM volume 2, "Instruction Format". */
#include "decode.h"

#include <stddef.h>

#define REX_W 8
#define REX_R 4
#define REX_X 2
#define REX_B 1

struct reader { const u8 *code; u64 at, left; bool failed; };

static u64 *at_offset(struct trapframe *tf, u64 offset) { return (u64 *)((u8 *)tf + offset); }

u64 *register_of(struct trapframe *tf, u8 number) {
    static const u8 offset[16] = {
        offsetof(struct trapframe, rax), offsetof(struct trapframe, rcx), offsetof(struct trapframe, rdx), offsetof(struct trapframe, rbx),
        offsetof(struct trapframe, rsp), offsetof(struct trapframe, rbp), offsetof(struct trapframe, rsi), offsetof(struct trapframe, rdi),
        offsetof(struct trapframe, r8), offsetof(struct trapframe, r9), offsetof(struct trapframe, r10), offsetof(struct trapframe, r11),
        offsetof(struct trapframe, r12), offsetof(struct trapframe, r13), offsetof(struct trapframe, r14), offsetof(struct trapframe, r15),
    };
    return at_offset(tf, offset[number & 15]);
}

static i64 next(struct reader *r, u64 size) {
    u64 value = 0;

    if (r->at + size > r->left) {
        r->failed = true;
        return 0;
    }
    for (u64 i = 0; i < size; i++)
        value |= (u64)r->code[r->at++] << 8 * i;
    return (i64)(value << (64 - 8 * size)) >> (64 - 8 * size);
}

static void read_operand(struct reader *r, u8 rex, const struct trapframe *tf, struct insn *i, u64 immediate) {
    u8 mod, rm, sib = 0;
    struct trapframe *regs = (struct trapframe *)tf;
    u64 address = 0;

    i->modrm = (u8)next(r, 1);
    mod = i->modrm >> 6;
    rm = i->modrm & 7;
    i->reg = (u8)((i->modrm >> 3 & 7) | (rex & REX_R ? 8 : 0));
    i->rm = (u8)(rm | (rex & REX_B ? 8 : 0));
    if (mod == 3)
        return;
    i->memory = true;
    if (rm == 4) {
        sib = (u8)next(r, 1);
        u8 index = (u8)((sib >> 3 & 7) | (rex & REX_X ? 8 : 0)), base = (u8)((sib & 7) | (rex & REX_B ? 8 : 0));
        if (index != 4)
            address += *register_of(regs, index) << (sib >> 6);
        if ((sib & 7) == 5 && mod == 0)
            address += (u64)next(r, 4);
        else
            address += *register_of(regs, base);
    } else if (rm == 5 && mod == 0) {
        address = (u64)next(r, 4);
        address += tf->rip + r->at + immediate;
    } else {
        address = *register_of(regs, i->rm);
    }
    if (mod == 1)
        address += (u64)next(r, 1);
    else if (mod == 2)
        address += (u64)next(r, 4);
    i->address = address;
}

static bool has_modrm(u16 opcode) {
    switch (opcode) {
    case 0x88: case 0x89: case 0xc6: case 0xc7:         /* MOV */
    case 0x0f01:                                        /* INVLPG */
    case 0x0f20: case 0x0f22:                           /* MOV of control registers */
        return true;
    }
    return false;
}

static bool is_known(u16 opcode) {
    switch (opcode) {
    case 0x6c: case 0x6d: case 0x6e: case 0x6f:         /* INS, OUTS */
    case 0xe4: case 0xe5: case 0xe6: case 0xe7:         /* IN, OUT */
    case 0xec: case 0xed: case 0xee: case 0xef:
    case 0xf4: case 0xfa: case 0xfb:                    /* HLT, CLI, STI */
    case 0x0f30: case 0x0f32:                           /* WRMSR, RDMSR */
        return true;
    }
    return has_modrm(opcode);
}

bool decode(const u8 *code, u64 left, const struct trapframe *tf, struct insn *i) {
    struct reader r = {.code = code, .left = left};
    bool word = false;
    u8 rex = 0, byte;

    *i = (struct insn){0};
    for (;;) {
        byte = (u8)next(&r, 1);
        if (byte == 0x66)
            word = true;
        else if (byte == 0xf3)
            i->repeat = true;
        else
            break;
    }
    if ((byte & 0xf0) == 0x40) {
        rex = byte;
        byte = (u8)next(&r, 1);
    }
    i->opcode = byte == 0x0f ? (u16)(0x0f00 | (u8)next(&r, 1)) : byte;
    if (!is_known(i->opcode))
        return false;
    i->size = rex & REX_W ? 8 : word ? 2 : 4;
    if (i->opcode < 0x0f00 && !(i->opcode & 1))
        i->size = 1;            /* of all that have an operand */
    i->byte_registers = i->size == 1 && !rex;
    bool moves_immediate = i->opcode == 0xc6 || i->opcode == 0xc7;
    u64 immediate = moves_immediate ? MIN(i->size, 4u) : i->opcode >= 0xe4 && i->opcode <= 0xe7 ? 1 : 0;
    if (has_modrm(i->opcode))
        read_operand(&r, rex, tf, i, immediate);
    if (moves_immediate && i->modrm & 0x38)
        return false;
    if (immediate)
        i->immediate = next(&r, immediate);
    i->length = (u8)r.at;
    return !r.failed;
}
