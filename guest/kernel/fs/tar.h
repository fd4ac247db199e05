/* The root file system's archive (tar.c). */
#ifndef TAR_H
#define TAR_H

#include "platform.h"

/* Fill the root directory; a malformed archive ends the machine with status 125. */
void tar_unpack(struct blob);

#endif
