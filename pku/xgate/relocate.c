/* A forbidden sequence in the displacement of an instruction: the instruction goes elsewhere, where its displacement is another.
 *
 *   f3 0f 7e 05 [0f c7 18 00]    movq 0x18c70f(%rip), %xmm0        jmp stub; int3 …
 *                                                            stub:  movq other(%rip), %xmm0; jmp back
 *
 * Only an instruction that is certainly one may move, for nobody jumps into its middle.
 */
#include "linux.h"
#include "process.h"
#include "vm.h"
#include "xgate.h"

#define LONGEST 15
#define JUMP 5
#define INT3 0xcc

/* The instruction that covers `va`: its address and length; 0 if that is not certain. */
static u64 covering(u64 va, u32 *length) {
    u8 code[LONGEST];

    for (u64 at = va; at > va - LONGEST; at--) {
        if (!is_instruction(at))
            continue;
        for (u64 i = 0; i < LONGEST; i++)
            code[i] = text_byte(at + i) ? *text_byte(at + i) : 0;
        *length = instruction_length(code, LONGEST);
        return at + *length > va ? at : 0;
    }
    return 0;
}

/* RIP-relative, with the displacement at its end. */
static bool is_movable(u64 at, u32 length) { return length > JUMP && (*text_byte(at + length - 5) & 0xc7) == 0x05; }

static void put_jump(u64 at, u64 to) {
    i32 distance = (i32)(to - (at + JUMP));

    *text_byte(at) = 0xe9;
    for (int i = 0; i < 4; i++)
        *text_byte(at + 1 + (u64)i) = ((u8 *)&distance)[i];
}

bool relocate(u64 va) {
    u32 length;
    u64 at = covering(va, &length), stub;

    if (!at || !is_movable(at, length) || !(stub = stub_space(PAGE_SIZE)))
        return false;
    i32 old = (i32)user_word(at + length - 4, 4), new = old + (i32)(at - stub);
    for (u64 i = 0; i < length; i++)
        *text_byte(stub + i) = i < length - 4 ? *text_byte(at + i) : ((u8 *)&new)[i - (length - 4)];
    put_jump(stub + length, at + length);
    put_jump(at, stub);
    for (u64 i = JUMP; i < length; i++)
        *text_byte(at + i) = INT3;
    return is_innocent(stub, PAGE_SIZE) && is_innocent(at, length);
}
