/* puzzle: a program to fuzz, with mistakes in it.
 *
 * `paracell fuzz puzzle` stops it where it calls LLVMFuzzerTestOneInput, and gives it one input after the other.  The input lies
 * at the end of the buffer, so that who reads behind it reaches a page that is not there:
 *
 *     buffer ─▶ ┌──────────────┬────────┐
 *               │              │ input  │ guard, no access
 *               └──────────────┴────────┘
 */
#include "program.h"

#define BUFFER 65536UL
#define GUARD 4096UL

enum { NONE = 0, READ_WRITE = 3, PRIVATE_ANONYMOUS = 0x22, SIGABRT = 6 };

/* A record: 'P', its length, that many bytes, and their sum. */
static int sum_is_right(const u8 *data, u64 size) {
    u64 length = data[1];
    u8 sum = 0;

    if (length > size)                  /* the mistake: the two bytes before, and the sum, are no part of it */
        return 0;
    for (u64 i = 0; i < length; i++)
        sum += data[2 + i];
    return sum == data[2 + length];
}

int LLVMFuzzerTestOneInput(const u8 *data, u64 size);
__attribute__((noinline)) int LLVMFuzzerTestOneInput(const u8 *data, u64 size) {
    if (size < 3 || data[0] != 'P')
        return 0;
    if (size > 6 && data[1] == 'U' && data[2] == 'Z' && data[3] == '!')
        syscall(SYS_kill, syscall(SYS_getpid), SIGABRT);
    return sum_is_right(data, size);
}

int main(int argc, char **argv) {
    u8 *buffer = (u8 *)syscall(SYS_mmap, 0, BUFFER + GUARD, READ_WRITE, PRIVATE_ANONYMOUS, -1, 0);

    (void)argc, (void)argv;
    memset(buffer, 1, BUFFER);
    syscall(SYS_mprotect, buffer + BUFFER, GUARD, NONE);
    print("%d\n", LLVMFuzzerTestOneInput(buffer, BUFFER));
    return 0;
}
