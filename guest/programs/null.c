/* null [N]: N times the least that a system call can do. */
#include "program.h"

int main(int argc, char **argv) {
    u64 n = argc > 1 ? number(argv[1]) : 100000;

    for (u64 i = 0; i < n; i++)
        syscall(SYS_getpid);
    return 0;
}
