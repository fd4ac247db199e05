#include "linux.h"

i64 handle(i32 signal, void *handler, u64 flags, u64 blocked) {
    struct action a = {handler, flags | SA_RESTORER, restorer, blocked};

    return syscall(SYS_rt_sigaction, signal, &a, NULL, 8);
}

u64 mask(i32 how, u64 set) {
    u64 before = 0;

    syscall(SYS_rt_sigprocmask, how, &set, &before, 8);
    return before;
}
