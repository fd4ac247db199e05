/* The address of the secret as every argument of every system call, each in a child of its own.
 * Defence: a program's pointers are followed in its own half only.  Control: off=usercopy. */
#include "attack.h"

#define CALLS 450
#define ARGUMENTS 6
#define SYS_fork 57
#define SYS_wait4 61
#define SYS_pipe 22

static const u16 not_these[] = {15, 34, 56, 57, 58, 60, 61, 62, 130, 200, 231, 234, 435};  /* that end, wait, multiply or kill */

static int is_out(u64 call) {
    for (u64 i = 0; i < COUNT(not_these); i++)
        if (not_these[i] == call)
            return 1;
    return 0;
}

static i64 any_call(u64 number, const u64 *a) {
    register u64 r10 asm("r10") = a[3], r8 asm("r8") = a[4], r9 asm("r9") = a[5];
    i64 result;
    asm volatile("syscall" : "=a"(result) : "a"(number), "D"(a[0]), "S"(a[1]), "d"(a[2]), "r"(r10), "r"(r8), "r"(r9)
                 : "rcx", "r11", "memory");
    return result;
}

/* With descriptors, sizes and flags that many calls accept, and the secret in one place or in all that may be pointers. */
static void try_all(u64 call, u64 secret, i32 in) {
    static const u64 fillers[] = {0, 1, 8};
    for (u64 place = 0; place < ARGUMENTS; place++)
        for (u64 f = 0; f < COUNT(fillers); f++) {
            u64 a[ARGUMENTS] = {(u64)in, 8, 8, fillers[f], fillers[f], fillers[f]};
            if (f == 1)
                a[0] = 1;
            if (f == 2)
                a[1] = 1;
            a[place] = secret;
            any_call(call, a);
        }
}

int main(int argc, char **argv) {
    if (argc < 2)
        return 2;
    u64 secret = hexadecimal(argv[1]);
    for (u64 call = 0; call < CALLS; call++) {
        i32 ends[2];
        if (is_out(call) || syscall(SYS_pipe, ends))
            continue;
        syscall(SYS_write, ends[1], "something", 9);
        syscall(SYS_close, ends[1]);
        if (!syscall(SYS_fork)) {
            syscall(SYS_alarm, 1);
            try_all(call, secret, ends[0]);
            syscall(SYS_exit_group, 0);
        }
        syscall(SYS_wait4, -1, 0, 0, 0);
        syscall(SYS_close, ends[0]);
    }
    print("refused: all of them\n");
    return 1;
}
