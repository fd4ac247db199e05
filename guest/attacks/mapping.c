/* Ask for the container kernel's pages, and the gate's, to be mapped, changed, moved or given another key.
 * Defence: a program maps in its own half only; the container kernel sees to it, and the host once more.
 * Control: off=range and off=half. */
#include "attack.h"

#define MADV_DONTNEED 4
#define MAYMOVE_FIXED 3
#define SYS_pkey_mprotect 329
#define SYS_pkey_alloc 330

static int count;

static void expect_refusal(const char *what, i64 result) {
    if (result >= 0)
        print("accepted: %s\n", what);
    else
        count++;
}

static void ask_for(u64 page) {
    volatile u8 *mine = map(PAGE, PROT_RW);
    *mine = 1;                          /* there is something to be moved */
    expect_refusal("mprotect", syscall(SYS_mprotect, page, PAGE, PROT_RW));
    expect_refusal("pkey_mprotect", syscall(SYS_pkey_mprotect, page, PAGE, PROT_RW, 0));
    expect_refusal("key 1", syscall(SYS_pkey_mprotect, mine, PAGE, PROT_RW, 1));
    expect_refusal("madvise", syscall(SYS_madvise, page, PAGE, MADV_DONTNEED));
    expect_refusal("mremap away", syscall(SYS_mremap, page, PAGE, PAGE, MAYMOVE_FIXED, mine));
    expect_refusal("mremap to it", syscall(SYS_mremap, mine, PAGE, PAGE, MAYMOVE_FIXED, page));
    expect_refusal("brk", syscall(SYS_brk, page) == (i64)page ? 0 : -1);
    expect_refusal("mmap over it", syscall(SYS_mmap, page, PAGE, PROT_RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED , -1, 0));
}

int main(int argc, char **argv) {
    if (argc < 3)
        return 2;
    u64 secret = hexadecimal(argv[1]), gate = hexadecimal(argv[2]) & ~(PAGE - 1);
    for (int i = 0; i < 16; i++)
        if (syscall(SYS_pkey_alloc, 0, 0) == 1)
            print("accepted: key 1\n");
    ask_for(secret);
    ask_for(gate);
    if (count == 16)
        print("refused: all\n");
    return 1;
}
