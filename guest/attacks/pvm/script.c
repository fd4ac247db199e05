/* A PVM guest that does what a script says, one hypercall after the other; an event goes on with the next step.
 *
 * Beside the hypercalls, by their numbers, there are steps of its own: a load, a store, an entry of its page tables at a level
 * from 1 to 4, a return to user mode with a PVCS that the arguments fill, and REP OUTSB and INSB of some bytes. */
#include "boot.h"
#include "pvkernel.h"
#include "script_kernel.h"
#include "x86.h"

#include "script.h"

#define USER 0x400000UL

enum { LOAD = 0x100, STORE, ENTER, MAP, OUTS, IN };      /* paracell/fuzz/script_pvm.py */

SCRIPT_HERE

bool scripted;

void to_user_mode(void);

static i64 enter_forged(const u64 *a) {
    pvcs.rip = a[0];
    pvcs.user_cs = (u16)a[1];
    pvcs.user_ss = (u16)(a[1] >> 16);
    pvcs.eflags = (u32)a[2];
    pvcs.rcx = a[3];
    pvcs.r11 = a[4];
    pvcs.pkru = (u32)a[5];
    to_user_mode();
    return 0;
}

static i64 take(u32 what, const u64 *a) {
    switch (what) {
    case LOAD: return *(volatile i64 *)a[0];
    case STORE: *(volatile u64 *)a[0] = a[1]; return 0;
    case ENTER: return enter_forged(a);
    case MAP: *entry(boot->root, a[0], 1 + (int)((a[3] - 1) & 3)) = (a[1] & PTE_ADDRESS) | a[2]; return 0;
    case OUTS: outsb((u16)a[0], (const u8 *)a[1], a[2] & 0xffff); return 0;
    case IN: return inb((u16)a[0]);
    default: return (i64)hypercall3(what, a[0], a[1], a[2]);
    }
}

/* From the next step on; an event comes here again, on a fresh stack.  At the end, the others may run. */
void script_go_on(void) {
    u64 a[SCRIPT_ARGUMENTS];

    for (i64 n; (n = script_next(a)) >= 0;)
        script.results[n] = take(script.steps[n].what, a);
    for (;;)
        nap(1UL << 40);
}

void script_begin(void) {
    static const u8 code[] = {0xb8, 0, 0, 0, 0, 0x0f, 0x05, 0xeb, 0xfe};       /* mov $0, %eax; syscall; jmp . */

    user_code(code, sizeof code);
    scripted = true;
    script_wait();
    script_go_on();
}
