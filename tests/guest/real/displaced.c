/* Code in which a forbidden sequence (WRPKRU 0f 01 ef, XRSTORS 0f c7 18) lies in a displacement or in two instructions: all
 * of it is harmless, and has to run.
 *
 *   call  e8 [0f c7 18] 00        the callee is 0x18c70f bytes away
 *   mov   b8 00 00 00 [0f         and
 *   add   01 ef]
 */
#include <stdio.h>

#define DISTANCE "0x18c70f"
#define FUNCTION(name) ".globl " #name "\n.type " #name ", @function\n" #name ":\n.cfi_startproc\n"
#define END(name) ".cfi_endproc\n.size " #name ", . - " #name "\n"

/* Each near branch, and behind each by that distance where it goes. */
asm(".pushsection .displaced, \"ax\", @progbits\n"
    ".p2align 12\n"
    FUNCTION(call_far) "push %rbp\ncall 9f\n8: pop %rbp\nadd $1, %rax\nret\n" END(call_far)
    ".skip " DISTANCE " - (. - 8b), 0xcc\n"
    "9: .type landing1, @function\nlanding1: lea 10(%rdi), %rax\nret\n.size landing1, . - landing1\n"
    ".p2align 12\n"
    FUNCTION(jump_far) "mov $20, %eax\njmp 9f\n8: ud2\n" END(jump_far)
    ".skip " DISTANCE " - (. - 8b), 0xcc\n"
    "9: .type landing2, @function\nlanding2: add %rdi, %rax\nret\n.size landing2, . - landing2\n"
    ".p2align 12\n"
    FUNCTION(jump_far_if) "mov $30, %eax\ntest %rdi, %rdi\njne 9f\n8: ret\n" END(jump_far_if)
    ".skip " DISTANCE " - (. - 8b), 0xcc\n"
    "9: .type landing3, @function\nlanding3: add %rdi, %rax\nret\n.size landing3, . - landing3\n"
    ".p2align 12\n"
    FUNCTION(two) "push %rbp\nmov $4, %ebp\nmov $0x0f000000, %eax\nadd %ebp, %edi\nlea (%rax,%rdi), %rax\npop %rbp\nret\n" END(two)
    ".popsection");

long call_far(long), jump_far(long), jump_far_if(long), two(long);

int main(void) {
    printf("call %ld jump %ld jcc %ld not %ld two %lx\n", call_far(1), jump_far(2), jump_far_if(3), jump_far_if(0), two(5));
    return 0;
}
