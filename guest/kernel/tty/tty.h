/* The console: three streams, each a terminal or not (tty.c). */
#ifndef TTY_H
#define TTY_H

#include "types.h"

struct process;

void tty_init(void);            /* devices, and descriptors 0, 1 and 2 of the running process */
void tty_interrupt(void);       /* input has arrived: Ctrl-C must work even while no program reads */
void tty_told(void);            /* of the size of the screen, or a signal */
void tty_process_ends(const struct process *);  /* the leader of a session takes the terminal with it */

#endif
