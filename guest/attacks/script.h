/* A script that a fuzzer writes into a guest which waits for it: steps, done one after the other.
 *
 *   ready │ done │ step 0: what, names, a[0] … a[5] │ … │ step 31 │ result 0 … result 31
 *
 * Bit n of `names` says that a[n] names an earlier step, and stands for its result: so a file that one step has opened is
 * written by the next.  paracell/fuzz/scripts.py has the same layout. */
#ifndef SCRIPT_H
#define SCRIPT_H

#define SCRIPT_STEPS 32
#define SCRIPT_ARGUMENTS 6

struct step { u32 what, names; u64 a[SCRIPT_ARGUMENTS]; };

struct script {
    u64 ready;                  /* how many steps there are; 0: wait */
    u64 done;                   /* how many have begun */
    struct step steps[SCRIPT_STEPS];
    i64 results[SCRIPT_STEPS];
};

extern volatile struct script script;
void script_wait(void);

#define SCRIPT_HERE                                                             \
    volatile struct script script __attribute__((aligned(4096), used));         \
    asm(".text\n"                                                               \
        ".globl script_wait\n"                                                  \
        "script_wait: cmpq $0, script(%rip)\n"                                  \
        "je script_wait\n"                                                      \
        "ret\n");

/* Take the next step: its arguments into `a`, its number as the result; -1 behind the last. */
static inline i64 script_next(u64 a[SCRIPT_ARGUMENTS]) {
    u64 n = script.done;

    if (n >= script.ready || n >= SCRIPT_STEPS)
        return -1;
    script.done = n + 1;
    for (u64 i = 0; i < SCRIPT_ARGUMENTS; i++) {
        a[i] = script.steps[n].a[i];
        if (script.steps[n].names >> i & 1)
            a[i] = (u64)script.results[a[i] % SCRIPT_STEPS];
    }
    return (i64)n;
}
#endif
