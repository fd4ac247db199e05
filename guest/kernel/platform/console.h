/* The console, and the end of the machine.  Stream 0 and 1 are COM1, 2 is COM2, and 3, on which nothing comes in, is the debug console. */
#ifndef PLATFORM_CONSOLE_H
#define PLATFORM_CONSOLE_H

#include "types.h"

void plat_console_write(int stream, const u8 *, u64 count);
i64  plat_console_read(int stream, u8 *, u64 count);        /* ≥1 bytes, 0 at end of input, -EAGAIN if none yet */
void plat_exit(int status) __attribute__((noreturn));

#endif
