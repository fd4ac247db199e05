/* Options on the command line (options.c). */
#ifndef OPTIONS_H
#define OPTIONS_H

/* What the kernel can be told on its command line, and asks for with option():
 *   log=1    name each system call that is missing, once
 *   tty=N    which streams are a terminal: bit 0 input, bit 1 output, bit 2 errors
 *   input=0  there is none, and none will come: for a machine that cannot say so by its serial line
 *   rows=N columns=N   of the terminal
 *   policy=NAME  when its pages become host memory (pager/policies.py); batch=N low=N high=N of the processor's list (mm/page.c)
 *   around=N how many anonymous pages come with a fault (mm/fault.c)
 *   seed=N   of the random numbers, and of where a program's parts lie (task/layout.c)
 */
void options_init(const char *cmdline);

#endif
