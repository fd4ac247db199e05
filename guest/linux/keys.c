/* Protection keys.  A processor without them has nothing to show, and is taken at Linux's word. */
#include "linux.h"

#define DISABLE_ACCESS 1
#define DISABLE_WRITE 2

static i32 key;
static volatile i32 handled, right_inside = -1, code;
static volatile u64 fault_address;

static i32 right(void) {
    u32 rights, zero;

    asm volatile("rdpkru" : "=a"(rights), "=d"(zero) : "c"(0));
    return (i32)(rights >> 2 * key & 3);
}

static void on_signal(i32 signal) { handled = signal, right_inside = key > 0 ? right() : DISABLE_ACCESS; }

/* The access is made again behind it, so the page must be free by then. */
static void on_fault(i32 signal, struct siginfo *info, struct context *c) {
    (void)c;
    handled = signal, code = info->code, fault_address = info->address;
    syscall(SYS_pkey_mprotect, info->address, PAGE, R_W, 0);
}

/* A handler has key 0 only, and what was interrupted its own rights again. */
static void handlers(void) {
    volatile char *page = (char *)syscall(SYS_mmap, NULL, PAGE, R_W, PRIVATE_ANONYMOUS, -1, 0);

    print("-- handlers\n");
    handle(SIGUSR1, (void *)on_signal, 0, 0);
    handle(SIGSEGV, (void *)on_fault, SA_SIGINFO, 0);
    key = (i32)syscall(SYS_pkey_alloc, 0, 0);
    CHECK(key < 0 || right() == 0);
    syscall(SYS_kill, syscall(SYS_getpid), SIGUSR1);
    CHECK(handled == SIGUSR1 && right_inside == DISABLE_ACCESS);
    CHECK(key < 0 || right() == 0);
    if (key > 0)
        syscall(SYS_pkey_free, key);
    key = (i32)syscall(SYS_pkey_alloc, 0, DISABLE_WRITE);
    CHECK(key < 0 || syscall(SYS_pkey_mprotect, page, PAGE, R_W, key) == 0);
    CHECK(page[0] == 0);
    page[0] = 1;
    CHECK(key < 0 || (handled == SIGSEGV && code == 4 && fault_address == (u64)page && right() == DISABLE_WRITE));
    CHECK(page[0] == 1);
}

/* A new program has none; a child has its parent's. */
static void programs(void) {
    char *args[] = {"keys", "again", NULL}, *none[] = {NULL};

    print("-- programs\n");
    if (fork() == 0) {
        CHECK(key < 0 || syscall(SYS_pkey_free, key) == 0);
        quit(0);
    }
    reap("child", -1);
    if (fork() == 0)
        syscall(SYS_execve, "/proc/self/exe", args, none);
    reap("program", -1);
}

int main(int argc, char **argv) {
    i32 left = 0;

    (void)argv;
    if (argc > 1) {
        for (i32 k = 1; k < 16; k++)
            left += syscall(SYS_pkey_free, k) == 0;
        print("%d keys are left\n", left);
        return 0;
    }
    apart();
    handlers();
    programs();
    return 42;
}
