/* What the parts of the console share: the device (tty.c), input (tty_line.c), output (tty_output.c), and the session and
 * group that control it (tty_control.c). */
#ifndef TTY_LINE_H
#define TTY_LINE_H

#include "fs/file.h"
#include "linux.h"

extern struct terminal {
    struct termios settings;
    struct winsize window;
    i32 session, foreground;    /* the session that it controls, and the group that may read it; 0 = none */
    u64 streams;                /* bit n: stream n is a terminal */
    bool at_end;                /* of the input */
    u64 poll_generation;        /* how often there was something to read, or room again */
    bool stopped;               /* is the output: writers sleep here */
} tty;

static inline int tty_stream(const struct file *f) { return (int)(u64)f->inode->device; }
static inline bool is_terminal(int stream) { return tty.streams >> stream & 1; }

/* The stream that shows what goes to the terminal by any other name than descriptors 1 and 2; 0 = both go elsewhere. */
static inline int tty_screen(void) { return is_terminal(1) ? 1 : is_terminal(2) ? 2 : 0; }

/* tty_line.c: what has come in, and reaches the readers line by line */
extern const u8 tty_input;      /* its address is where those sleep who wait for it */
void tty_pump(void);            /* take what has come in */
u64 tty_there(void);            /* how much of it may be read, a Ctrl-D included */
u64 tty_count(void);            /* in bytes */
i64 tty_take(u8 *to, u64 n);
i64 tty_take_more(u8 *to, u64 n);       /* of the same line */
void tty_drop_input(void);
void tty_set(const struct termios *);

/* tty_output.c */
void tty_print(int stream, const u8 *from, u64 n);      /* stream 0: nowhere */
void tty_echo(u8);
void tty_unecho(u8);
void tty_drop_echo(void);       /* what of it waits */
void tty_start(void);           /* after Ctrl-S; a pause is a program's, and goes on */
void tty_pause(bool);

/* tty_control.c */
i64 tty_check_background(int signal);   /* 0: the caller may; else it gets this error, or the signal */
void tty_tell_foreground(int signal);
i64 tty_take_over(void);
i64 tty_ioctl(struct file *, u32 request, u64 argument);

#endif
