/* The console.  A stream that is no terminal passes bytes on and nothing else;
 * a terminal has lines, echo, erase, end of file and Ctrl-C.
 *
 *   ring   │ given to readers │ whole lines │ line being typed │
 *                             tail         ready              head
 */
#include "tty.h"

#include "device.h"
#include "file.h"
#include "kernel.h"
#include "options.h"
#include "process.h"
#include "vm.h"

#define RING 4096
#define CTRL(c) ((c) & 31)

static u8 ring[RING];
static u64 head, ready, tail;           /* count up for ever */
static u64 ends;                        /* lines that Ctrl-D ended, and that hold no newline */
static bool at_end;                     /* of the input */
static u64 terminals;
static struct termios settings = {
    .iflag = ICRNL, .oflag = OPOST | ONLCR, .cflag = 0xbf, .lflag = ISIG | ICANON | ECHO | 0x8a30,
    .cc = {CTRL('C'), CTRL('\\'), 0x7f, CTRL('U'), CTRL('D'), 0, 1, 0, CTRL('Q'), CTRL('S'), CTRL('Z')},
};

static int stream_of(const struct file *f) { return (int)(u64)f->inode->device; }
static bool is_terminal(int stream) { return terminals >> stream & 1; }

static void write_terminal(int stream, const u8 *from, u64 n) {
    while (n) {
        u64 line = 0;
        while (line < n && from[line] != '\n')
            line++;
        plat_console_write(stream, from, line);
        if (line < n)
            plat_console_write(stream, (const u8 *)"\r\n", 2), line++;
        from += line;
        n -= line;
    }
}

static void echo(u8 c) {
    if (!(settings.lflag & ECHO))
        return;
    if (c < 32 && c != '\n' && c != '\t')
        write_terminal(1, (u8[]){'^', c + 64}, 2);
    else
        write_terminal(1, &c, 1);
}

static void erase_one(void) {
    if (head == ready)
        return;
    head--;
    if (settings.lflag & ECHO)
        write_terminal(1, (const u8 *)"\b \b", 3);
}

static void keep(u8 c) {
    if (head - tail < RING)
        ring[head++ % RING] = c;
}

static void typed(u8 c) {
    bool lines = settings.lflag & ICANON;

    if (c == '\r' && settings.iflag & ICRNL)
        c = '\n';
    if (settings.lflag & ISIG && (c == settings.cc[VINTR] || c == settings.cc[VQUIT])) {
        echo(c);
        head = ready = tail;
        signal_send(current, c == settings.cc[VINTR] ? SIGINT : SIGQUIT);
        return;
    }
    if (lines && c == settings.cc[VERASE]) {
        erase_one();
    } else if (lines && c == settings.cc[VKILL]) {
        while (head != ready)
            erase_one();
    } else if (lines && c == settings.cc[VEOF]) {
        ends += head == ready;
        ready = head;
    } else {
        echo(c);
        keep(c);
        if (!lines || c == '\n')
            ready = head;
    }
}

static void tty_pump(void) {
    u8 bytes[256];

    while (!at_end && head - tail < RING) {
        i64 n = plat_console_read(bytes, MIN(sizeof bytes, RING - (head - tail)));
        if (n == 0)
            at_end = true;
        if (n <= 0)
            break;
        for (i64 i = 0; i < n; i++) {
            if (is_terminal(0))
                typed(bytes[i]);
            else
                keep(bytes[i]);
        }
        if (!is_terminal(0))
            ready = head;
    }
    if (at_end)
        ready = head;
}

/* A byte came in while nobody reads: only a terminal's can mean something (Ctrl-C). */
void tty_interrupt(void) {
    if (is_terminal(0))
        tty_pump();
}

/* A pipe's bytes go straight to the reader. */
static i64 read_plain(u8 *to, u64 n) {
    i64 got = at_end ? 0 : plat_console_read(to, n);

    at_end |= got == 0;
    return got;
}

static i64 take(u8 *to, u64 n) {
    u64 got = 0;

    while (got < n && tail < ready) {
        u8 c = ring[tail++ % RING];
        to[got++] = c;
        if (c == '\n' && is_terminal(0) && settings.lflag & ICANON)
            break;
    }
    return (i64)got;
}

static i64 tty_read(struct file *f, u8 *to, u64 n, u64 at) {
    (void)at;
    for (;;) {
        if (is_terminal(0))
            tty_pump();
        if (tail < ready)
            return take(to, n);
        if (ends) {
            ends--;
            return 0;
        }
        i64 got = is_terminal(0) ? (at_end ? 0 : -EAGAIN) : read_plain(to, n);
        if (got != -EAGAIN || f->flags & O_NONBLOCK)
            return got;
        if (signal_waiting())
            return -EINTR;
        plat_wait();
    }
}

static i64 tty_write(struct file *f, const u8 *from, u64 n, u64 at) {
    int stream = stream_of(f);

    (void)at;
    if (is_terminal(stream) && settings.oflag & OPOST && settings.oflag & ONLCR)
        write_terminal(stream, from, n);
    else
        plat_console_write(stream, from, n);
    return (i64)n;
}

static i64 tty_ioctl(struct file *f, u32 request, u64 argument) {
    struct winsize size = {24, 80, 0, 0};
    i32 word;

    if (request == FIONREAD) {
        tty_pump();
        word = (i32)(ready - tail);
        return copy_out(argument, &word, sizeof word);
    }
    if (!is_terminal(stream_of(f)))
        return -ENOTTY;
    switch (request) {
    case TCGETS:
        return copy_out(argument, &settings, sizeof settings);
    case TCSETS: case TCSETSW: case TCSETSF:
        return copy_in(&settings, argument, sizeof settings);
    case TIOCGWINSZ:
        return copy_out(argument, &size, sizeof size);
    case TIOCGPGRP:
        return copy_out(argument, &current->process->group, sizeof(i32));
    case TIOCSPGRP:
        return copy_in(&word, argument, sizeof word);
    case TIOCSCTTY:
        return 0;
    default:
        return -ENOTTY;
    }
}

static i16 tty_poll(struct file *f) {
    i16 events = stream_of(f) ? POLLOUT : 0;

    if (stream_of(f) == 0) {
        tty_pump();
        events |= (tail < ready || ends ? POLLIN : 0) | (at_end ? POLLIN | POLLHUP : 0);
    }
    return events;
}

static const struct file_ops tty_ops = {
    .read = tty_read, .write = tty_write, .ioctl = tty_ioctl, .poll = tty_poll, .stream = true,
};

void tty_init(void) {
    terminals = option("tty", 0);
    for (u64 stream = 0; stream < 3; stream++) {
        u32 mode = is_terminal((int)stream) ? S_IFCHR | 0620 : S_IFIFO | 0600;
        struct inode *i = device_new(mode, is_terminal((int)stream) ? DEVICE(5, 1) : 0, &tty_ops, (void *)stream);
        struct file *f = file_open(i, stream ? O_WRONLY : O_RDONLY);
        if (is_terminal((int)stream))
            f->flags = O_RDWR;
        fd_install(f, 0, false);
        if (stream == 1)
            device_add("console", i), device_add("tty", i);
        inode_put(i);
    }
}
