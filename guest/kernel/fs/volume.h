/* Directories and files that go back to who started the machine (volume.c). */
#ifndef VOLUME_H
#define VOLUME_H

struct inode;

void volume_add(const char *path, struct inode *);      /* takes the reference; `path` stays */
void volumes_leave(void);                               /* what changed there goes out, at the end of the first process */

#endif
