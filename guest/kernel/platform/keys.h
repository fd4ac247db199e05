/* Protection keys, and what may become code. */
#ifndef PLATFORM_KEYS_H
#define PLATFORM_KEYS_H

#include "types.h"

/* Which keys are not to be given away (bit n is key n), and the running thread's
 * rights to one (PKEY_DISABLE_ACCESS 1, PKEY_DISABLE_WRITE 2). */
u32  plat_keys(void);
void plat_set_key(int key, u32 rights);

/* The running thread's PKRU, as a signal frame keeps it.  A platform keeps the rights to its own keys as they are. */
u32  plat_pkru(void);
void plat_set_pkru(u32);
void plat_reset_pkru(void);                                 /* key 0 only: what a program and a signal's handler start with */

/* W^X, where the platform insists on it: may user pages have these rights
 * together?  0, or -errno. */
int  plat_check_protection(bool write, bool exec, bool shared);

/* User pages [va, va + npages) are about to become executable: ParaCell scans
 * them for WRPKRU and XRSTOR and rewrites system calls, native does nothing.
 * The platform reaches them through text_page() (vm.h), which brings them in.
 * 0; 1 if that made a copy that is worth keeping; or -errno (the mapping is then refused).
 * Below the file's mapping it may have mapped pages of its own, to which the code now jumps. */
struct stubs { u64 start, size; };
int  plat_make_executable(u64 va, u64 npages, struct stubs *);
u64  plat_room_for_stubs(u64 size);                         /* to leave below the mapping of so much of a file */
bool plat_fits_beside(u64 va, u64 size);                    /* code that was looked through elsewhere: with its neighbours here? */

/* What a program may not do, unless a positive control lets it. */
u64  plat_user_top(void);                                   /* map at this address and above: USER_TOP */
void *plat_foreign_pointer(u64 va);                         /* give such an address to a system call: NULL */
bool plat_may_move_code(void);                              /* mremap() what is executable */
bool plat_keeps_code_private(void);                         /* share pages of scanned code: the kernel copies them first */

#endif
