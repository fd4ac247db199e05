/* Protection keys are the program's alone.  Its PKRU crosses with each event. */
#include "platform/keys.h"
#include "pvkernel.h"
#include "x86.h"

#define PKRU_AT_START 0x55555554        /* as on Linux: key 0 only */

static bool has_keys(void) { return cpuid(7, 0).c >> 4 & 1; }   /* OSPKE: the host has set CR4.PKE */

u32 plat_keys(void) { return has_keys() ? 0 : ~0u; }

void plat_set_key(int key, u32 rights) { pvcs.pkru = (pvcs.pkru & ~(3u << 2 * key)) | rights << 2 * key; }

u32 plat_pkru(void) { return pvcs.pkru; }
void plat_set_pkru(u32 value) { pvcs.pkru = value; }
void plat_reset_pkru(void) { plat_set_pkru(PKRU_AT_START); }
