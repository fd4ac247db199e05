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

/* Put UD2 in its place, if an instruction certainly begins there; a REX prefix may stand before it.
 * WRPKRU keeps its last byte, by which plat_emulate() recognises it. */
static bool replace_by_ud2(u64 va) {
    bool rex = is_instruction(va - 1) && (*text_byte(va - 1) & 0xf0) == 0x40;

    if (!is_instruction(va) && !rex)
        return false;
    *text_byte(va) = 0x0f;
    if (*text_byte(va + 1) != 0x01)
        *text_byte(va + 2) = 0x90;
    *text_byte(va + 1) = 0x0b;
    return true;
}

bool is_harmless(u64 va, u64 size) {
    for (u64 at = va; at < va + size; at++)
        if (dangerous((u8)user_word(at, 1), (u8)user_word(at + 1, 1), (u8)user_word(at + 2, 1)))
            return false;
    return true;
}

bool scan(u64 va, u64 size) {
    u8 a = 0, b = 0;

    /* Two bytes before, two behind: user_word gives 0 where nothing is mapped. */
    for (u64 at = va - 2; at != va + size + 2; at++) {
        const u8 *byte = at >= va && at < va + size ? text_byte(at) : NULL;
        if (at >= va && at < va + size && !byte)
            return false;
        u8 c = byte ? *byte : (u8)user_word(at, 1);
        bool across = at - 2 < va || at >= va + size;
        if (dangerous(a, b, c) && !(across && OFF(border)) && !(OFF(bytes) && !is_instruction(at - 2)) &&
            at - 2 < va + size && !replace_by_ud2(at - 2) && !relocate(at - 2))
            return false;
        a = b;
        b = c;
    }
    return true;
}
