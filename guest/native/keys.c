/* Protection keys are the program's alone here, and any page may be code. */
#include "kernel.h"
#include "native.h"
#include "platform/keys.h"
#include "x86.h"

#define PKRU_AT_START 0x55555554        /* as on Linux: key 0 only */

static bool has_keys(void) { return cr4 & CR4_PKE; }

u32 plat_keys(void) { return has_keys() ? 0 : ~0u; }

void plat_set_key(int key, u32 rights) { wrpkru((rdpkru() & ~(3u << 2 * key)) | rights << 2 * key); }

u32 plat_pkru(void) { return has_keys() ? rdpkru() : 0; }

void plat_set_pkru(u32 value) {
    if (has_keys())
        wrpkru(value);
}

void plat_reset_pkru(void) { plat_set_pkru(PKRU_AT_START); }

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
