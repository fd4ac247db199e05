/* Bind guest memory ahead of use. */
#ifndef BIND_H
#define BIND_H

#include "types.h"

i64 pager_request(u64 list, u64 counts);        /* guest-physical; unbinds << 32 | binds.  How many were bound. */

#endif
