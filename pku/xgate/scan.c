/* The scanner: no byte sequence that writes PKRU may be executable outside the gate.
 *
 *   WRPKRU  0f 01 ef      XRSTOR  0f ae /5 mem      XRSTORS  0f c7 /3 mem
 *
 * At every byte, for a jump may land anywhere; and across the borders, for the page before or
 * behind may be executable already.
 */
#include "mm/vm.h"
#include "xgate.h"

static bool dangerous(u8 a, u8 b, u8 c) {
    u8 mod = c >> 6, reg = c >> 3 & 7;

    if (a != 0x0f || (b != 0x01 && OFF(xrstor)))
        return false;
    return (b == 0x01 && c == 0xef) || (b == 0xae && mod != 3 && reg == 5) || (b == 0xc7 && mod != 3 && reg == 3);
}

/* Put an undefined instruction in its place, if an instruction certainly begins there; a REX prefix may stand before it.
 * plat_emulate() recognises it.  XRSTORS is a fault at ring 3 anyway. */
static bool make_undefined(u64 va) {
    bool rex = is_instruction(va - 1) && (*text_byte(va - 1) & 0xf0) == 0x40;

    if (!is_instruction(va) && !rex)
        return false;
    if (*text_byte(va + 1) == 0xc7)
        *text_byte(va + 2) = 0x90;
    u8 *second = text_byte(va + 1);
    *second = *second == 0xae ? 0xff : 0x0b;
    return true;
}

bool is_harmless(u64 va, u64 size) {
    for (u64 at = va; at < va + size; at++)
        if (dangerous((u8)user_word(at, 1), (u8)user_word(at + 1, 1), (u8)user_word(at + 2, 1)))
            return false;
    return true;
}

bool scan(u64 va, u64 size) {
    u64 end = va + size;

    for (u64 page = va; page < end; page += PAGE_SIZE)
        if (!text_byte(page))
            return false;
    if (!OFF(border) && !is_harmless(va - 2, 2))
        return false;
    for (u64 at = va; (at = next_of_interest(at, end)) < end; at++) {
        bool across = at + 2 >= end;
        if (!is_harmless(at, 1) && !(across && OFF(border)) && !(OFF(bytes) && !is_instruction(at)) && !make_undefined(at) && !relocate(at))
            return false;
    }
    return true;
}
