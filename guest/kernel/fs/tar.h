/* The root file system's archive (tar.c). */
#ifndef TAR_H
#define TAR_H

#include "platform.h"

#define TAR_BLOCK 512UL

struct tar_header {
    char name[100], mode[8], uid[8], gid[8], size[12], mtime[12], checksum[8], type, target[100];
    char magic[8], user[32], group[32], major[8], minor[8], prefix[155], pad[12];
};

/* Fill the root directory; a malformed archive ends the machine with status 125. */
void tar_unpack(struct blob);

#endif
