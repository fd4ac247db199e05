/* Directories and files that go back to who started the machine (volume.c). */
#ifndef VOLUME_H
#define VOLUME_H

#include "types.h"

struct inode;

void volume_add(const char *path, struct inode *);      /* takes the reference; `path` stays */
void volumes_leave(bool well);                          /* what changed there goes out, at the end of the first process */
void volumes_leave_always(void);                        /* even if it does not end well */

#endif
