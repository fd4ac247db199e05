/* Protection keys are the program's alone here. */
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
