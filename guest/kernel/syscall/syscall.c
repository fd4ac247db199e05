/* Dispatch a system call by its number. */
#include "platform/entry.h"
#include "syscalls.h"

#include "kernel.h"
#include "task/process.h"

typedef i64 (*handler)(u64, u64, u64, u64, u64, u64);   /* the calling convention lets one take fewer */

static const handler table[SYSCALLS] = {
#define SYSCALL(number, name, arguments) [number] = (handler)(void (*)(void))sys_##name,
#include "syscalls.def"
#undef SYSCALL
};

/* Name a missing call, once. */
static void missing(u64 number) {
    static bool named[SYSCALLS];

    if (number >= SYSCALLS || named[number] || !option("log", 0))
        return;
    named[number] = true;
    print("syscall %s(%lu) is not implemented", syscall_names[number] ? syscall_names[number] : "?", number);
}

void syscall(struct trapframe *tf) {
    u64 number = tf->rax;

    if (number >= SYSCALLS || !table[number]) {
        missing(number);
        tf->rax = (u64)-ENOSYS;
        return;
    }
    current->call = number;
    i64 result = table[number](tf->rdi, tf->rsi, tf->rdx, tf->r10, tf->r8, tf->r9);
    tf->rax = (u64)result;
    if (tf->vector == VEC_SYSCALL && result <= -ERESTART && result >= -ERESTARTNOHAND)
        current->interrupted = true;    /* by a signal, which another thread may have taken meanwhile */
}
