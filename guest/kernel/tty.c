/* The console.  A stream that is no terminal passes bytes on and nothing else;
 * a terminal has lines, echo, erase, end of file, Ctrl-C and job control.
 *
 *   ring   │ given to readers │ whole lines │ line being typed │
 *                             tail         ready              head
 */
#include "tty.h"

#include "device.h"
#include "file.h"
#include "kernel.h"
#include "job.h"
#include "options.h"
#include "process.h"
#include "time.h"
#include "vm.h"

#define RING 4096
#define CTRL(c) ((c) & 31)

static u8 ring[RING];
static u64 head, ready, tail;           /* count up for ever */
static u64 ends;                        /* lines that Ctrl-D ended, and that hold no newline */
static bool at_end;                     /* of the input */
static u64 terminals;
static struct termios settings = {
    .iflag = ICRNL | IXON, .oflag = OPOST | ONLCR, .cflag = 0xbf, .lflag = ISIG | ICANON | ECHO | 0x8a30,
    .cc = {CTRL('C'), CTRL('\\'), 0x7f, CTRL('U'), CTRL('D'), 0, 1, 0, CTRL('Q'), CTRL('S'), CTRL('Z')},
};

/* Whose terminal it is, and who may read it. */
static i32 session, foreground;
static struct winsize window = {24, 80, 0, 0};

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

static int signal_of(u8 c) {
    return c == settings.cc[VINTR] ? SIGINT : c == settings.cc[VQUIT] ? SIGQUIT : c == settings.cc[VSUSP] ? SIGTSTP : 0;
}

static void tell_foreground(int signal) {
    struct siginfo info = {.signal = signal, .code = SI_KERNEL};

    signal_group(foreground, &info);
}

static void typed(u8 c) {
    bool lines = settings.lflag & ICANON;

    if (c == '\r' && settings.iflag & ICRNL)
        c = '\n';
    int signal = settings.lflag & ISIG && c ? signal_of(c) : 0;
    if (signal) {
        echo(c);
        head = ready = tail;
        tell_foreground(signal);
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

/* Something came in; a terminal's byte can mean something even while nobody reads. */
void tty_interrupt(void) {
    if (is_terminal(0))
        tty_pump();
    file_changed(ring);
}

void tty_process_ends(const struct process *p) {
    if (!session || p->session != session || p->pid != session)
        return;
    tell_foreground(SIGHUP);
    tell_foreground(SIGCONT);
    session = foreground = 0;
}

/* Only the foreground may: the others are stopped, or told that they cannot be. */
static i64 check_background(int signal) {
    const struct process *p = current->process;
    struct siginfo info = {.signal = signal, .code = SI_KERNEL};

    if (!session || p->session != session || p->group == foreground)
        return 0;
    if (current->blocked & SIGNAL_BIT(signal) || p->actions[signal].handler == SIG_IGN)
        return signal == SIGTTIN ? -EIO : 0;
    if (group_is_orphaned(p))
        return -EIO;
    signal_group(p->group, &info);
    return -ERESTART;
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

/* What a read outside of canonical mode waits for: VMIN bytes, or VTIME tenths of a second. */
static u64 least(void) { return settings.lflag & ICANON ? 1 : settings.cc[VMIN]; }

static i64 tty_wait(u64 until) {
    int error = sleep_on(ring, until);

    return error == -ETIMEDOUT ? 0 : error ? -ERESTART : 1;
}

static i64 read_terminal(struct file *f, u8 *to, u64 n) {
    u64 wanted = MIN(least(), n), tenths = settings.lflag & ICANON ? 0 : settings.cc[VTIME];
    u64 until = !wanted || tenths ? now_ns() + tenths * (NS_PER_S / 10) : FOREVER;

    for (;;) {
        i64 error = check_background(SIGTTIN);
        if (error)
            return error;
        tty_pump();
        if (ready - tail >= MAX(wanted, 1) || (at_end && tail < ready))
            return take(to, n);
        if (ends) {
            ends--;
            return 0;
        }
        if (at_end)
            return 0;
        if (f->flags & O_NONBLOCK)
            return tail < ready ? take(to, n) : -EAGAIN;
        error = tty_wait(wanted && !(tail < ready) ? FOREVER : until);
        if (error <= 0)
            return error ? error : take(to, n);
    }
}

static i64 tty_read(struct file *f, u8 *to, u64 n, u64 moved) {
    if (moved)
        return 0;
    if (is_terminal(0))
        return read_terminal(f, to, n);
    for (;;) {
        i64 got = tail < ready ? take(to, n) : read_plain(to, n);
        if (got != -EAGAIN || f->flags & O_NONBLOCK)
            return got;
        if ((got = tty_wait(FOREVER)) < 0)
            return got;
    }
}

static i64 tty_write(struct file *f, const u8 *from, u64 n, u64 at) {
    int stream = stream_of(f);

    (void)at;
    if (is_terminal(stream)) {
        i64 error = settings.lflag & TOSTOP ? check_background(SIGTTOU) : 0;
        if (error)
            return error;
    }
    if (is_terminal(stream) && settings.oflag & OPOST && settings.oflag & ONLCR)
        write_terminal(stream, from, n);
    else
        plat_console_write(stream, from, n);
    return (i64)n;
}

static i64 set_settings(u64 from, bool drop_input) {
    i64 error = check_background(SIGTTOU);

    if (error)
        return error;
    if (copy_in(&settings, from, sizeof settings))
        return -EFAULT;
    if (drop_input)
        tail = ready = head;
    if (!(settings.lflag & ICANON))
        ready = head;                   /* what was being typed is there to be read */
    return 0;
}

static i64 set_window(u64 from) {
    if (copy_in(&window, from, sizeof window))
        return -EFAULT;
    tell_foreground(SIGWINCH);
    return 0;
}

static i64 set_foreground(u64 from) {
    const struct process *me = current->process;
    i32 group;

    if (copy_in(&group, from, sizeof group))
        return -EFAULT;
    if (me->session != session)
        return -ENOTTY;
    i64 error = check_background(SIGTTOU);
    if (error)
        return error;
    for (const struct process *p = processes; p; p = p->next)
        if (p->group == group) {
            if (p->session != session)
                return -EPERM;
            foreground = group;
            return 0;
        }
    return group < 0 ? -EINVAL : -ESRCH;
}

/* A session's leader takes a terminal that is nobody's. */
static i64 take_terminal(void) {
    const struct process *p = current->process;

    if (p->session == session)
        return 0;
    if (p->session != p->pid || session)
        return -EPERM;
    session = p->session;
    foreground = p->group;
    return 0;
}

static i64 give_up_terminal(void) {
    if (current->process->session != session)
        return -ENOTTY;
    tty_process_ends(current->process);
    return 0;
}

static i64 tty_ioctl(struct file *f, u32 request, u64 argument) {
    bool mine = current->process->session == session;
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
        return set_settings(argument, request == TCSETSF);
    case TCFLSH:
        if (argument != 1)
            tail = ready = head;
        return 0;
    case TCSBRK: case TCXONC:
        return 0;                       /* what was written is on its way already */
    case TIOCGWINSZ:
        return copy_out(argument, &window, sizeof window);
    case TIOCSWINSZ:
        return set_window(argument);
    case TIOCGPGRP:
        return mine ? copy_out(argument, &foreground, sizeof foreground) : -ENOTTY;
    case TIOCSPGRP:
        return set_foreground(argument);
    case TIOCGSID:
        return mine ? copy_out(argument, &session, sizeof session) : -ENOTTY;
    case TIOCSCTTY:
        return take_terminal();
    case TIOCNOTTY:
        return give_up_terminal();
    default:
        return -ENOTTY;
    }
}

static int tty_open(struct file *f) {
    (void)f;
    if (!session)
        take_terminal();
    return 0;
}

/* /dev/tty: the terminal of one's session, and of no other. */
static int own_tty_open(struct file *f) {
    (void)f;
    return session && current->process->session == session ? 0 : -ENXIO;
}

static i16 tty_poll(struct file *f) {
    bool both = is_terminal(stream_of(f));
    i16 events = stream_of(f) || both ? POLLOUT | POLLWRNORM : 0;

    if (stream_of(f) == 0 || both) {
        tty_pump();
        events |= (tail < ready || ends ? POLLIN | POLLRDNORM : 0) | (at_end ? POLLIN | POLLHUP : 0);
    }
    return events;
}

static const struct file_ops tty_ops = {
    .read = tty_read, .write = tty_write, .ioctl = tty_ioctl, .poll = tty_poll, .open = tty_open, .stream = true, .patient = true,
};
static const struct file_ops own_tty_ops = {
    .read = tty_read, .write = tty_write, .ioctl = tty_ioctl, .poll = tty_poll, .open = own_tty_open, .stream = true, .patient = true,
};

static bool open_nothing(void) {
    struct inode *null;

    if (name_lookup(root_inode, "/dev/null", true, &null))
        return false;
    struct file *f = file_open(null, O_RDONLY);
    inode_put(null);
    return f && fd_install(f, 0, false) == 0;
}

void tty_init(void) {
    terminals = option("tty", 0);
    at_end = !option("input", 1);
    if (!is_terminal(0))
        tty_pump();
    for (u64 stream = 0; stream < 3; stream++) {
        if (!stream && at_end && tail == head && open_nothing())
            continue;                   /* input that is over before it has begun */
        u32 mode = is_terminal((int)stream) ? S_IFCHR | 0620 : S_IFIFO | 0600;
        struct inode *i = device_new(mode, is_terminal((int)stream) ? DEVICE(5, 1) : 0, &tty_ops, (void *)stream);
        struct file *f = file_open(i, stream ? O_WRONLY : O_RDONLY);
        if (is_terminal((int)stream))
            f->flags = O_RDWR;
        fd_install(f, 0, false);
        if (stream == 1)
            device_add("console", i);
        inode_put(i);
    }
    if (is_terminal(0)) {
        session = current->process->session;
        foreground = current->process->group;
        window.rows = (u16)option("rows", window.rows);
        window.columns = (u16)option("columns", window.columns);
    }
    struct inode *own = device_new(S_IFCHR | 0666, DEVICE(5, 0), &own_tty_ops, (void *)1);
    device_add("tty", own);
    inode_put(own);
}
