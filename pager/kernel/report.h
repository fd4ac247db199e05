/* Free-page reporting: the host may have what the buddy allocator has had free for a while. */
#ifndef REPORT_H
#define REPORT_H

#include "types.h"

extern bool report_on;

bool report_init(void *page);           /* for the queue; false: the device has none */
void report_freed(void);                /* a block has become free */

#endif
