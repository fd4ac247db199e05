/* Any page may be code: the processor's own rights keep the program away from the kernel. */
#include "kernel.h"
#include "platform/keys.h"

int plat_check_protection(bool write, bool exec, bool shared) {
    (void)write, (void)exec, (void)shared;
    return 0;
}

int plat_make_executable(u64 va, u64 npages, struct stubs *stubs) {
    (void)va, (void)npages, (void)stubs;
    return 0;
}

u64 plat_room_for_stubs(u64 size) {
    (void)size;
    return 0;
}

bool plat_fits_beside(u64 va, u64 size) {
    (void)va, (void)size;
    return true;
}

u64 plat_user_top(void) { return USER_TOP; }

void *plat_foreign_pointer(u64 va) {
    (void)va;
    return NULL;
}

bool plat_may_move_code(void) { return true; }
bool plat_keeps_code_private(void) { return false; }
