/* Is a file ready? (sys_poll.c) */
#ifndef POLL_H
#define POLL_H

#include "fs/file.h"

i16 file_ready(struct file *);          /* POLL* */
u64 after_ms(i32 timeout_ms);           /* the time at which it is over; negative: FOREVER */
void epoll_forget(struct file *);       /* it ends (epoll.c) */

#endif
