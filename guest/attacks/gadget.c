/* Call a function of the container kernel's: keys never stop a fetch.
 * Defence: it runs with the caller's rights, and the kernel's memory has another key.  Control: off=keys. */
#include "attack.h"

int main(int argc, char **argv) {
    if (argc < 3)
        return 2;
    u64 secret = hexadecimal(argv[1]);
    void *(*kernel_memset)(u64, int, u64) = (void *)hexadecimal(argv[2]);
    kernel_memset(secret, 1, 8);
    print("wrote\nread %lx\n", *(volatile u64 *)secret);
    return 0;
}
