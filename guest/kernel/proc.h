#ifndef PROC_H
#define PROC_H

void proc_init(void);                   /* /proc (proc.c) */

#endif
