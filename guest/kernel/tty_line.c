/* The lines of a terminal: echo, erase, end of file, the keys that send a signal.
 *
 *   ring   │ given to readers │ whole lines │ line being typed │
 *                             tail         ready              head
 */
#include "kernel.h"
#include "process.h"
#include "tty_line.h"

#define RING 4096
#define CTRL(c) ((c) & 31)

const u8 tty_input;
struct terminal tty = {
    .settings = {
        .iflag = ICRNL | IXON, .oflag = OPOST | ONLCR, .cflag = 0xbf, .lflag = ISIG | ICANON | ECHO | 0x8a30,
        .cc = {CTRL('C'), CTRL('\\'), 0x7f, CTRL('U'), CTRL('D'), 0, 1, 0, CTRL('Q'), CTRL('S'), CTRL('Z')},
    },
    .window = {24, 80, 0, 0},
};

static u8 ring[RING];
static u64 head, ready, tail;           /* count up for ever */

static void print_lines(int stream, const u8 *from, u64 n) {
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

void tty_print(int stream, const u8 *from, u64 n) {
    if (is_terminal(stream) && tty.settings.oflag & OPOST && tty.settings.oflag & ONLCR)
        print_lines(stream, from, n);
    else
        plat_console_write(stream, from, n);
}

static void echo(u8 c) {
    if (!(tty.settings.lflag & ECHO))
        return;
    if (c < 32 && c != '\n' && c != '\t')
        print_lines(1, (u8[]){'^', c + 64}, 2);
    else
        print_lines(1, &c, 1);
}

static void erase_one(void) {
    if (head == ready)
        return;
    head--;
    if (tty.settings.lflag & ECHO)
        print_lines(1, (const u8 *)"\b \b", 3);
}

static void keep(u8 c) {
    if (head - tail < RING)
        ring[head++ % RING] = c;
}

static int signal_of(u8 c) {
    const u8 *cc = tty.settings.cc;

    return c == cc[VINTR] ? SIGINT : c == cc[VQUIT] ? SIGQUIT : c == cc[VSUSP] ? SIGTSTP : 0;
}

static void typed(u8 c) {
    const struct termios *t = &tty.settings;
    bool lines = t->lflag & ICANON;

    if (c == '\r' && t->iflag & ICRNL)
        c = '\n';
    int signal = t->lflag & ISIG && c ? signal_of(c) : 0;
    if (signal) {
        echo(c);
        head = ready = tail;
        tty_tell_foreground(signal);
        return;
    }
    if (lines && c == t->cc[VERASE]) {
        erase_one();
    } else if (lines && c == t->cc[VKILL]) {
        while (head != ready)
            erase_one();
    } else if (lines && c == t->cc[VEOF]) {
        tty.ends += head == ready;
        ready = head;
    } else {
        echo(c);
        keep(c);
        if (!lines || c == '\n')
            ready = head;
    }
}

void tty_pump(void) {
    u8 bytes[256];

    while (!tty.at_end && head - tail < RING) {
        i64 n = plat_console_read(bytes, MIN(sizeof bytes, RING - (head - tail)));
        if (n == 0)
            tty.at_end = true;
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
    if (tty.at_end)
        ready = head;
}

u64 tty_there(void) { return ready - tail; }

i64 tty_take(u8 *to, u64 n) {
    u64 got = 0;

    while (got < n && tail < ready) {
        u8 c = ring[tail++ % RING];
        to[got++] = c;
        if (c == '\n' && is_terminal(0) && tty.settings.lflag & ICANON)
            break;
    }
    return (i64)got;
}

void tty_drop_input(void) { tail = ready = head; }

void tty_set(const struct termios *settings) {
    tty.settings = *settings;
    if (!(settings->lflag & ICANON))
        ready = head;                   /* what was being typed is there to be read */
}
