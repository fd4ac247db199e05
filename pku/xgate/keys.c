/* Protection keys, and what may become code. */
#include "errno.h"
#include "platform/keys.h"
#include "xgate.h"

u32 plat_keys(void) { return 1u << KEY_KERNEL; }

void set_user_pkru(u32 value) { xgate_vcpu.pkru = value | PKRU_USER; }

u32 plat_pkru(void) { return (u32)xgate_vcpu.pkru; }

void plat_set_pkru(u32 value) {
    set_user_pkru(value);
    if (OFF(sigreturn))
        xgate_vcpu.pkru = value;
}

void plat_reset_pkru(void) { set_user_pkru(PKRU_START); }

void plat_set_key(int key, u32 rights) {
    set_user_pkru(((u32)xgate_vcpu.pkru & ~(3u << 2 * key)) | rights << 2 * key);
}

/* W^X, and no executable page that another mapping may write. */
int plat_check_protection(bool write, bool exec, bool shared) {
    return exec && ((write && !OFF(scan)) || (shared && !OFF(shared))) ? -EACCES : 0;
}

int plat_make_executable(u64 va, u64 npages, struct stubs *stubs) {
    u64 size = npages * PAGE_SIZE;

    stubs_begin(va, size);
    instructions_find(va, size);
    bool harmless = OFF(scan) || scan(va, size);
    if (harmless)
        rewrite(va, size);
    instructions_forget();
    *stubs = stubs_end(harmless);
    return harmless ? 1 : -EACCES;
}

bool plat_fits_beside(u64 va, u64 size) {
    return OFF(scan) || OFF(border) || (is_harmless(va - 2, 2) && is_harmless(va + size - 2, 2));
}

u64 plat_user_top(void) { return OFF(range) ? ~PAGE_MASK : USER_TOP; }
void *plat_foreign_pointer(u64 va) { return OFF(usercopy) ? (void *)va : NULL; }
bool plat_may_move_code(void) { return OFF(move); }
bool plat_keeps_code_private(void) { return !OFF(copy) && !OFF(shared); }
