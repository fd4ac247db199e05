/* A forbidden sequence in the displacement of an instruction, or in two instructions: the first goes elsewhere, where its
 * displacement is another, and what follows it as well.
 *
 *   f3 0f 7e 05 [0f c7 18 00]    movq 0x18c70f(%rip), %xmm0        jmp stub; int3 …
 *                                                            stub:  movq other(%rip), %xmm0; jmp back
 *
 *   e8 [0f c7 18 00]             call far away                     call stub
 *                                                            stub:  jmp far away
 *
 * Only an instruction that is certainly one may move, for nobody jumps into its middle.
 */
#include "xgate.h"

#define LONGEST 15
#define JUMP 5
#define INT3 0xcc

/* The instruction that covers `va`: its address, its length, and where its displacement is (0: it is not relative to RIP);
 * 0 if it is not certain to be one. */
static u64 covering(u64 va, u32 *length, u32 *displacement) {
    u8 code[LONGEST];

    for (u64 at = va; at > va - LONGEST; at--) {
        if (!is_instruction(at))
            continue;
        for (u64 i = 0; i < LONGEST; i++)
            code[i] = text_byte(at + i) ? *text_byte(at + i) : 0;
        *length = instruction_length(code, LONGEST, displacement);
        return at + *length > va ? at : 0;
    }
    return 0;
}

static void put_distance(u64 at, u64 from, u64 to) {
    i32 distance = (i32)(to - from);

    for (u64 i = 0; i < sizeof distance; i++)
        *text_byte(at + i) = ((u8 *)&distance)[i];
}

static void put_jump(u64 at, u64 to) {
    *text_byte(at) = 0xe9;
    put_distance(at + 1, at + JUMP, to);
}

/* A near CALL, JMP or Jcc: its last four bytes say how far. */
static bool is_branch(u64 at, u32 length) {
    u64 op = at;

    while (op < at + length && (*text_byte(op) == 0xf2 || *text_byte(op) == 0x2e || *text_byte(op) == 0x3e || (*text_byte(op) & 0xf0) == 0x40))
        op++;                   /* BND, a hint, REX */
    if (op + 5 == at + length)
        return *text_byte(op) == 0xe8 || *text_byte(op) == 0xe9;
    return op + 6 == at + length && *text_byte(op) == 0x0f && (*text_byte(op + 1) & 0xf0) == 0x80;
}

/* It goes to a stub, which goes on from there: a CALL still leaves the right return address. */
static void branch_by_stub(u64 at, u32 length, u64 stub) {
    u64 end = at + length;

    put_jump(stub, end + (u64)(i64)(i32)user_word(end - 4, 4));
    put_distance(end - 4, end, stub);
}

static void move(u64 at, u32 length, u32 displacement, u64 stub) {
    u64 target = at + length + (u64)(i64)(i32)user_word(at + displacement, 4);

    for (u64 i = 0; i < length; i++)
        *text_byte(stub + i) = *text_byte(at + i);
    if (displacement)
        put_distance(stub + displacement, stub + length, target);
    put_jump(stub + length, at + length);
    put_jump(at, stub);
    for (u64 i = JUMP; i < length; i++)
        *text_byte(at + i) = INT3;
}

static bool is_xbegin(u64 at) { return *text_byte(at) == 0xc7 && *text_byte(at + 1) == 0xf8; }

bool relocate(u64 va) {
    u32 length, displacement;
    u64 at = covering(va, &length, &displacement), stub;

    if (!at || length < JUMP || is_xbegin(at) || !(stub = stub_space(ROUND_UP(LONGEST + JUMP, 16))))
        return false;
    if (is_branch(at, length))
        branch_by_stub(at, length, stub);
    else
        move(at, length, displacement, stub);
    return is_harmless(stub - 2, length + JUMP + 2) && is_harmless(at - 2, length + 2);
}
