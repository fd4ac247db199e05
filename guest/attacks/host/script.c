/* A container kernel that does what a script says, one hypercall after the other; an event goes on with the next step.
 *
 * Beside the hypercalls, by their numbers, there are steps of its own: a load, a store, and a return to container user whose
 * frame is the step's arguments: RIP, selectors, RFLAGS, vector, RSP, PKRU. */
#include "hostile.h"

#include "platform/entry.h"
#include "script.h"

enum { LOAD = 0x100, STORE, ENTER };     /* paracell/fuzz/script_paracell.py */

extern struct xgate_vcpu hostile_vcpu;
extern char stack_top[];

SCRIPT_HERE

bool scripted;

static i64 enter(const u64 *a) {
    static struct trapframe frame __attribute__((aligned(256)));

    frame = (struct trapframe){
        .rip = a[0], .cs = (u16)a[1], .ss = (u16)(a[1] >> 16), .rflags = a[2], .vector = a[3], .rsp = a[4],
    };
    hostile_vcpu.pkru = a[5];
    return hypercall(HC_RETURN, (u64)&frame, 0, 0, 0);
}

static i64 take(u32 what, const u64 *a) {
    switch (what) {
    case LOAD: return *(volatile i64 *)a[0];
    case STORE: *(volatile u64 *)a[0] = a[1]; return 0;
    case ENTER: return enter(a);
    default: return hypercall5(what, a[0], a[1], a[2], a[3], a[4]);
    }
}

/* From the next step on; an event comes here again, on a fresh stack.  At the end, the others may run. */
void script_go_on(void) {
    u64 a[SCRIPT_ARGUMENTS];

    for (i64 n; (n = script_next(a)) >= 0;)
        script.results[n] = take(script.steps[n].what, a);
    for (;;)
        nap(1000000);
}

void script_begin(void) {
    hostile_vcpu.stack = (u64)stack_top;
    hostile_vcpu.pkru = PKRU_USER;
    space_in_use();
    user_page(1, USER, ROUND_UP(boot->free_start, PAGE_SIZE), CODE);
    *(volatile u64 *)(GK_DIRECT + ROUND_UP(boot->free_start, PAGE_SIZE)) = 0x050f00000000b8;   /* mov $0, %eax; syscall */
    scripted = true;
    script_wait();
    script_go_on();
}
