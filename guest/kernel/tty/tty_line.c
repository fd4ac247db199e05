/* The lines of a terminal: erase, end of file, the keys that send a signal or stop the output.
 *
 *   ring   │ given to readers │ whole lines │ line being typed │
 *                             tail         ready              head
 *
 * As in Linux, Ctrl-D is in it, too: a zero that ends a line, and that no reader of lines gets to see.
 */
#include "kernel.h"
#include "platform/console.h"
#include "task/process.h"
#include "tty_line.h"

#define RING 4096
#define CTRL(c) ((c) & 31)
#define ENDS 0x100                      /* a line, with this byte */

const u8 tty_input;
struct terminal tty = {
    .settings = {
        .iflag = ICRNL | IXON, .oflag = OPOST | ONLCR, .cflag = 0xbf, .lflag = ISIG | ICANON | ECHO | 0x8a30,
        .cc = {CTRL('C'), CTRL('\\'), 0x7f, CTRL('U'), CTRL('D'), 0, 1, 0, CTRL('Q'), CTRL('S'), CTRL('Z')},
    },
    .window = {24, 80, 0, 0},
};

static u16 ring[RING];
static u64 head, ready, tail;           /* count up for ever */
static bool within;                     /* a line: the last read did not come to its end */

static u16 *at(u64 position) { return &ring[position % RING]; }

static void erase_one(void) {
    if (head == ready)
        return;
    tty_unecho((u8)*at(--head));
}

static void keep(u16 c) { *at(head++) = c; }

static bool is_full(void) { return head - tail >= RING - 1; }

/* How much may come in.  A line that is too long loses its last byte to the next one, so that what ends it still
 * comes, or a signal. */
static u64 room(void) {
    if (!is_full())
        return RING - 1 - (head - tail);
    if (!is_terminal(0) || !(tty.settings.lflag & ICANON) || ready != tail)
        return 0;
    head -= head - tail == RING;
    return 1;
}

static void end_line(u8 with) {
    keep(with | ENDS);
    ready = head;
}

static int signal_of(u8 c) {
    const u8 *cc = tty.settings.cc;

    return c == cc[VINTR] ? SIGINT : c == cc[VQUIT] ? SIGQUIT : c == cc[VSUSP] ? SIGTSTP : 0;
}

/* Ctrl-S and Ctrl-Q. */
static bool controls_output(u8 c) {
    const u8 *cc = tty.settings.cc;

    if (c == cc[VSTART])
        tty_start();
    else if (c == cc[VSTOP])
        tty.stopped = true;
    return c == cc[VSTART] || c == cc[VSTOP];
}

static void interrupted(u8 c, int signal) {
    const struct termios *t = &tty.settings;

    if (!(t->lflag & NOFLSH)) {
        tty_drop_input();
        tty_drop_echo();
    }
    if (t->iflag & IXON)
        tty_start();
    tty_echo(c);
    tty_tell_foreground(signal);
}

static void typed(u8 c) {
    const struct termios *t = &tty.settings;
    bool lines = t->lflag & ICANON;

    if (t->iflag & IXON && c && controls_output(c))
        return;
    if (c == '\r' && t->iflag & ICRNL)
        c = '\n';
    int signal = t->lflag & ISIG && c ? signal_of(c) : 0;
    if (signal) {
        interrupted(c, signal);
        return;
    }
    if (lines && c == t->cc[VERASE]) {
        erase_one();
    } else if (lines && c == t->cc[VKILL]) {
        while (head != ready)
            erase_one();
    } else if (lines && c == t->cc[VEOF]) {
        end_line(0);
    } else if (tty_echo(c), lines && c == '\n') {
        end_line(c);
    } else {
        keep(c);
        if (!lines)
            ready = head;
    }
}

static void tell_readers(void) {
    tty.poll_generation++;
    file_changed(&tty_input);
}

void tty_pump(void) {
    bool over = tty.at_end;
    u64 before = ready;
    u8 bytes[256];

    for (u64 most; !tty.at_end && (most = room());) {
        i64 n = plat_console_read(0, bytes, MIN(sizeof bytes, most));
        if (n == 0) {
            tty.at_end = true;
            tty_start();                /* no key could start it again */
        }
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
    if (ready != before || tty.at_end != over)
        tell_readers();
}

u64 tty_there(void) { return ready - tail; }

u64 tty_count(void) {
    u64 n = ready - tail;

    for (u64 i = tail; i < ready; i++)
        n -= *at(i) == ENDS;
    return n;
}

/* A mark right behind what was asked for goes with it. */
i64 tty_take(u8 *to, u64 n) {
    bool full = is_full();
    u64 got = 0;

    within = true;
    while (within && tail < ready && (got < n || (got && *at(tail) == ENDS))) {
        u16 c = *at(tail++);
        within = !(c & ENDS);
        if (c != ENDS)
            to[got++] = (u8)c;
    }
    if (full)
        tty_pump();                     /* a Ctrl-C may stand in line */
    return (i64)got;
}

i64 tty_take_more(u8 *to, u64 n) { return within ? tty_take(to, n) : 0; }

void tty_drop_input(void) { tail = ready = head; }

/* What has come in stays: as bytes, or as one line. */
static void change_mode(bool to_lines) {
    for (u64 i = tail; i < head; i++)
        *at(i) &= 0xff;
    if (to_lines && tail < head)
        *at(head - 1) |= ENDS;
    ready = head;
}

void tty_set(const struct termios *settings) {
    u32 changed = tty.settings.lflag ^ settings->lflag;

    tty.settings = *settings;
    if (changed & ICANON)
        change_mode(settings->lflag & ICANON);
    if (!(settings->iflag & IXON))
        tty_start();
    tell_readers();
}
