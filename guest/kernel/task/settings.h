/* What the first process is given besides its arguments and variables (settings.c). */
#ifndef SETTINGS_H
#define SETTINGS_H

/* One setting, "name=value"; one that cannot be had ends the machine with status 125.
 *   cwd=PATH  uid=N  gid=N  group=N (more than once)  umask=N  nonewprivs=1
 *   rlimit=RESOURCE:SOFT:HARD       numbers of Linux
 *   hostname=NAME
 *   readonly=PATH  writable=PATH    and all below, in this order; what is made later is writable
 *   volume=PATH                     what changed there leaves by COM3 at a good end (fs/volume.c)
 */
void settings_apply(const char *setting);

#endif
