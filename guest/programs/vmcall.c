/* vmcall [N]: N times the least that an exit from a virtual machine can do: a hypercall that the hypervisor refuses, as it comes
 * from ring 3.  Where there is no virtual machine, the first is an undefined instruction. */
#include "program.h"

int main(int argc, char **argv) {
    u64 n = argc > 1 ? number(argv[1]) : 10000;
    i64 result = 0;

    for (u64 i = 0; i < n; i++)
        asm volatile("vmcall" : "=a"(result) : "a"(0L) : "memory");
    print("%ld\n", result);
    return 0;
}
