/* echoin: what comes in goes out; then says how much it was, on standard error. */
#include "program.h"

int main(int argc, char **argv) {
    static char buffer[65536];
    u64 total = 0;
    i64 n;

    (void)argc, (void)argv;
    while ((n = syscall(SYS_read, 0, buffer, sizeof buffer)) > 0) {
        for (i64 done = 0, put; done < n; done += put)
            if ((put = syscall(SYS_write, 1, buffer + done, n - done)) < 0)
                return 1;
        total += (u64)n;
    }
    syscall(SYS_dup2, 2, 1);
    print("%lu bytes\n", total);
    return n < 0;
}
