/* What the first process is given besides its arguments and variables (settings.c). */
#ifndef SETTINGS_H
#define SETTINGS_H

/* One setting, "name=value"; one that cannot be had ends the machine with status 125.
 *   program=PATH                    what is run, where the first argument is another name of it
 *   cwd=PATH  uid=N  gid=N  group=N (more than once)  umask=N  nonewprivs=1
 *   init=1                          signals that it has no handler for do nothing: pid_namespaces(7)
 *   rlimit=RESOURCE:SOFT:HARD       numbers of Linux
 *   hostname=NAME
 *   readonly=PATH  writable=PATH    and all below, in this order; what is made later is writable
 *   volume=PATH                     what changed there leaves by the debug console at a good end (fs/volume.c)
 *   mounted=PATH                    is no part of the volume that it is in
 *   leave=1                         volumes leave at any end
 */
void settings_apply(const char *setting);
extern const char *settings_program;            /* NULL: the first argument */

#endif
