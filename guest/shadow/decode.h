/* The instructions that a host must do for its guest: stores, and what traps at ring 3. */
#ifndef DECODE_H
#define DECODE_H

#include "platform/entry.h"

struct insn {
    u16 opcode;                 /* 0x0f is its high byte */
    u8 length, size;            /* size: of the operand, in bytes */
    bool repeat, memory, byte_registers;        /* memory: the operand is `address`; else the register `rm` */
    u8 modrm, reg, rm;
    u64 address;
    i64 immediate;
};

/* 64-bit mode.  False: it is not one of them. */
bool decode(const u8 *code, u64 left, const struct trapframe *, struct insn *);
u64 *register_of(struct trapframe *, u8 number);        /* as the processor counts them: RAX, RCX, RDX, RBX, RSP … */

#endif
