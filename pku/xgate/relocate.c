/* A forbidden sequence in the displacement of an instruction: it goes elsewhere, where its displacement is another.
 *
 *   f3 0f 7e 05 [0f c7 18 00]    movq 0x18c70f(%rip), %xmm0        jmp stub; int3 …
 *                                                            stub:  movq other(%rip), %xmm0; jmp back
 *
 * Only an instruction that is certainly one may move, for nobody jumps into its middle.
 */
#include "linux.h"
#include "mm/vm.h"
#include "task/process.h"
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

static void put_jump(u64 at, u64 to) {
    i32 distance = (i32)(to - (at + JUMP));

    *text_byte(at) = 0xe9;
    for (int i = 0; i < 4; i++)
        *text_byte(at + 1 + (u64)i) = ((u8 *)&distance)[i];
}

bool relocate(u64 va) {
    u32 length, displacement;
    u64 at = covering(va, &length, &displacement), stub;

    if (!at || length < JUMP || !displacement || !(stub = stub_space(PAGE_SIZE)))
        return false;
    i32 new = (i32)user_word(at + displacement, 4) + (i32)(at - stub);
    for (u64 i = 0; i < length; i++)
        *text_byte(stub + i) = *text_byte(at + i);
    for (u64 i = 0; i < sizeof new; i++)
        *text_byte(stub + displacement + i) = ((u8 *)&new)[i];
    put_jump(stub + length, at + length);
    put_jump(at, stub);
    for (u64 i = JUMP; i < length; i++)
        *text_byte(at + i) = INT3;
    return is_harmless(stub, PAGE_SIZE) && is_harmless(at - 2, length + 2);
}
