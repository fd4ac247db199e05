/* SCM_RIGHTS: open files that a message carries (rights.c). */
#ifndef RIGHTS_H
#define RIGHTS_H

#include "types.h"

struct pipe;

i64 rights_send(struct pipe *, u64 control, u64 size);          /* with the bytes written next */
i64 rights_receive(struct pipe *, u64 control, u64 *size, bool close_on_exec);  /* what came with the bytes read */
void rights_drop(struct pipe *, u64 from);                      /* those at this byte and behind */

#endif
