/* The length of an x86-64 instruction, and where it holds a distance from its end.
 * Source: SDM volume 2, "Instruction Format" and "Opcode Map". */
#include "xgate.h"

#define M 1                     /* ModRM */
#define B 2                     /* 8-bit immediate */
#define W 4                     /* 16-bit immediate */
#define D 8                     /* 32-bit immediate, 16 with an operand-size prefix */
#define X 16                    /* not an instruction in 64-bit mode */
#define Q 32                    /* D, or 64 bits with REX.W */
#define O 64                    /* an 8-byte address */
#define G 128                   /* group 3: an immediate only if ModRM.reg is 0 or 1 */

#define ALU M, M, M, M, B, D, X, X
static const u8 one_byte[256] = {
    ALU, ALU, ALU, ALU, ALU, ALU, ALU, ALU,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,                         /* 40: REX, seen before */
    0, 0, 0, 0, 0, 0, 0, 0, [0x60] = X, X, X, M, [0x68] = D, M | D, B, M | B, 0, 0, 0, 0,
    B, B, B, B, B, B, B, B, B, B, B, B, B, B, B, B,                         /* 70: Jcc */
    M | B, M | D, X, M | B, M, M, M, M, M, M, M, M, M, M, M, M,             /* 80 */
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, X, 0, 0, 0, 0, 0,
    O, O, O, O, 0, 0, 0, 0, B, D, 0, 0, 0, 0, 0, 0,                         /* a0 */
    B, B, B, B, B, B, B, B, Q, Q, Q, Q, Q, Q, Q, Q,
    M | B, M | B, W, 0, X, X, M | B, M | D, W | B, 0, W, 0, 0, B, X, 0,     /* c0 */
    M, M, M, M, X, X, X, 0, M, M, M, M, M, M, M, M,
    B, B, B, B, B, B, B, B, D, D, X, B, 0, 0, 0, 0,                         /* e0 */
    X, 0, X, X, 0, 0, M | G | B, M | G | D, 0, 0, 0, 0, 0, 0, M, M,
};

/* After 0f. */
static u8 two_bytes(u8 op) {
    if (op == 0x04 || op == 0x0a || op == 0x0c || op == 0x0f || (op >= 0x20 && op <= 0x27) || op == 0x36 || op == 0x39 ||
        (op >= 0x3b && op <= 0x3f) || (op >= 0x78 && op <= 0x7b) || op == 0xa6 || op == 0xa7)
        return X;
    if (op >= 0x80 && op <= 0x8f)
        return D;
    if ((op >= 0x70 && op <= 0x73) || op == 0xa4 || op == 0xac || op == 0xba || op == 0xc2 || (op >= 0xc4 && op <= 0xc6))
        return M | B;
    if ((op >= 0x05 && op <= 0x0b) || op == 0x0e || (op >= 0x30 && op <= 0x37) || op == 0x77 || (op >= 0xa0 && op <= 0xa2) ||
        (op >= 0xa8 && op <= 0xaa) || (op >= 0xc8 && op <= 0xcf))
        return 0;
    return M;
}

static u32 modrm_length(const u8 *at, const u8 *end) {
    if (at >= end)
        return 0;
    u8 mod = *at >> 6, rm = *at & 7;
    u32 n = 1;

    if (mod == 3)
        return n;
    if (rm == 4) {
        if (at + 1 >= end)
            return 0;
        n++;
        if (mod == 0 && (at[1] & 7) == 5)
            return n + 4;
    }
    if (mod == 0)
        return rm == 5 ? n + 4 : n;
    return n + (mod == 1 ? 1 : 4);
}

static bool is_prefix(u8 byte) {
    return byte == 0x66 || byte == 0x67 || byte == 0xf0 || byte == 0xf2 || byte == 0xf3 || byte == 0x2e || byte == 0x36 ||
           byte == 0x3e || byte == 0x26 || byte == 0x64 || byte == 0x65;
}

u32 instruction_length(const u8 *code, u64 left, u32 *distance) {
    const u8 *at = code, *end = code + MIN(left, 15UL);
    bool small = false, wide = false;
    u8 form;

    *distance = 0;
    while (at < end && is_prefix(*at)) {
        if (*at == 0x67)
            return 0;           /* 32-bit addresses: not in code that we know */
        small |= *at++ == 0x66;
    }
    if (at < end && (*at & 0xf0) == 0x40) {
        wide = *at++ & 8;
        if (at < end && (is_prefix(*at) || (*at & 0xf0) == 0x40))
            return 0;           /* only the REX prefix immediately before the opcode counts: not in code that we know */
    }
    small &= !wide;
    if (at + 1 >= end && !(at < end && !one_byte[*at]))
        return 0;
    u8 op = *at++, map = 0;
    if (op == 0xc5 || op == 0xc4 || op == 0x62) {               /* VEX, EVEX */
        map = op == 0xc5 ? 1 : op == 0xc4 ? at[0] & 31 : at[0] & 7;
        at += op == 0xc5 ? 1 : op == 0xc4 ? 2 : 3;
        if (at >= end || map < 1 || map > 3)
            return 0;
        op = *at++;
        form = map == 3 ? M | B : map == 2 ? M : op == 0x77 ? 0 : two_bytes(op) & B ? M | B : M;
    } else if (op == 0x0f) {
        op = *at++;
        if (op == 0x38 || op == 0x3a) {
            form = op == 0x3a ? M | B : M;
            at++;
        } else
            form = two_bytes(op);
    } else
        form = one_byte[op];
    if (form & X)
        return 0;
    if (small && !map && form == D && (op == 0xe8 || op == 0xe9 || (op >= 0x80 && op <= 0x8f)))
        return 0;               /* a near branch: 32 bits on Intel, 16 on AMD */
    if (form & M) {
        u8 reg = at < end ? *at >> 3 & 7 : 0;
        u32 n = modrm_length(at, end);
        if (!n)
            return 0;
        if ((*at & 0xc7) == 5)                  /* RIP-relative */
            *distance = (u32)(at + 1 - code);
        at += n;
        if (form & G && reg > 1)
            form = 0;
    }
    if (form & B) at += 1;
    if (form & W) at += 2;
    if (form & D) at += small ? 2 : 4;
    if (form & Q) at += wide ? 8 : small ? 2 : 4;
    if (form & O) at += 8;
    return at <= end ? (u32)(at - code) : 0;
}
