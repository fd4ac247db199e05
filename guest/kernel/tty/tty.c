/* The console.  A stream that is no terminal passes bytes on and nothing else;
 * a terminal has lines (tty_line.c) and job control (tty_control.c).
 */
#include "tty.h"

#include "fs/device.h"
#include "fs/file.h"
#include "kernel.h"
#include "options.h"
#include "platform/console.h"
#include "task/process.h"
#include "time/time.h"
#include "tty_line.h"

/* Input arrived.  A terminal takes it in at once, since a byte may be Ctrl-C; other streams leave it to a reader. */
void tty_interrupt(void) {
    if (is_terminal(0))
        tty_pump();
    else
        file_changed(&tty_input);       /* a reader fetches it */
}

/* A pipe's bytes go straight to the reader. */
static i64 read_plain(u8 *to, u64 n) {
    i64 got = tty.at_end ? 0 : plat_console_read(0, to, n);

    tty.at_end |= got == 0;
    return got;
}

static i64 tty_wait(u64 until) {
    int error = sleep_on(&tty_input, until);

    return error == -ETIMEDOUT ? 0 : error ? -ERESTART : 1;
}

/* Outside of canonical mode a read waits for VMIN bytes.  VTIME is how long it waits: for the first one if VMIN is 0,
 * else for each one after the first. */
static u64 least(void) { return tty.settings.lflag & ICANON ? 1 : tty.settings.cc[VMIN]; }
static u64 pause(void) { return tty.settings.lflag & ICANON ? 0 : tty.settings.cc[VTIME] * (NS_PER_S / 10); }

static i64 read_terminal(struct file *f, u8 *to, u64 n) {
    u64 until = least() ? FOREVER : now_ns() + pause(), seen = 0;

    for (;;) {
        i64 error = tty_check_background(SIGTTIN);
        if (error)
            return error;
        tty_pump();
        u64 there = tty_there();
        if (there >= MIN(MAX(least(), 1UL), n) || tty.at_end)
            return tty_take(to, n);
        if (f->flags & O_NONBLOCK)
            return there || !(least() | pause()) ? tty_take(to, n) : -EAGAIN;
        if (there > seen && pause())
            until = now_ns() + pause();
        seen = there;
        error = tty_wait(until);
        if (error <= 0)
            return error && !tty_there() ? error : tty_take(to, n);
    }
}

static i64 tty_read(struct file *f, u8 *to, u64 n, u64 moved) {
    if (is_terminal(0))
        return moved ? tty_take_more(to, n) : read_terminal(f, to, n);
    if (moved)
        return 0;
    for (;;) {
        i64 got = tty_there() ? tty_take(to, n) : read_plain(to, n);
        if (got != -EAGAIN || f->flags & O_NONBLOCK)
            return got;
        if ((got = tty_wait(FOREVER)) < 0)
            return got;
    }
}

/* Ctrl-Q comes, or anything else that lets the output go on. */
static i64 wait_for_start(struct file *f) {
    while (tty.stopped) {
        if (f->flags & O_NONBLOCK)
            return -EAGAIN;
        if (sleep_on(&tty.stopped, FOREVER))
            return -ERESTART;
    }
    return 0;
}

static i64 tty_write(struct file *f, const u8 *from, u64 n, u64 at) {
    int stream = tty_stream(f);

    (void)at;
    if (is_terminal(stream)) {
        i64 error = tty.settings.lflag & TOSTOP ? tty_check_background(SIGTTOU) : 0;
        if (error || (error = wait_for_start(f)))
            return error;
    }
    tty_print(stream ? stream : tty_screen(), from, n);
    return (i64)n;
}

static int tty_open(struct file *f) {
    if (is_terminal(tty_stream(f)) && !tty.session && readable(f) && !(f->flags & O_NOCTTY))
        tty_take_over();
    return 0;
}

/* /dev/tty: the terminal of one's session, and of no other. */
static int own_tty_open(struct file *f) {
    (void)f;
    return tty.session && current->process->session == tty.session ? 0 : -ENXIO;
}

/* As in Linux: VTIME turns a wait for VMIN bytes into one for any. */
static u64 enough(void) { return pause() ? 1 : MAX(least(), 1UL); }

static i16 tty_poll(struct file *f) {
    bool both = is_terminal(tty_stream(f));
    bool room = both ? !tty.stopped : tty_stream(f) > 0;
    i16 events = room ? POLLOUT | POLLWRNORM : 0;

    if (tty_stream(f) == 0 || both) {
        tty_pump();
        events |= (tty_there() >= enough() ? POLLIN | POLLRDNORM : 0) | (tty.at_end ? POLLIN | POLLHUP : 0);
    }
    return events;
}

static u64 tty_poll_generation(struct file *f) {
    (void)f;
    return tty.poll_generation;
}

static const struct file_ops tty_ops = {
    .read = tty_read, .write = tty_write, .ioctl = tty_ioctl, .poll = tty_poll, .poll_generation = tty_poll_generation, .open = tty_open,
    .stream = true, .may_sleep = true,
};
static const struct file_ops own_tty_ops = {
    .read = tty_read, .write = tty_write, .ioctl = tty_ioctl, .poll = tty_poll, .poll_generation = tty_poll_generation, .open = own_tty_open,
    .stream = true, .may_sleep = true,
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
    tty.streams = option("tty", 0);
    tty.at_end = !option("input", 1);
    if (!is_terminal(0))
        tty_pump();
    for (u64 stream = 0; stream < 3; stream++) {
        if (!stream && tty.at_end && !tty_there() && open_nothing())
            continue;                   /* input that is over before it has begun */
        u32 mode = is_terminal((int)stream) ? S_IFCHR | 0620 : S_IFIFO | 0600;
        struct inode *i = device_new(mode, is_terminal((int)stream) ? DEVICE(5, 1) : 0, &tty_ops, (void *)stream);
        struct file *f = file_open(i, stream ? O_WRONLY : O_RDONLY);
        if (is_terminal((int)stream))
            f->flags = O_RDWR;
        fd_install(f, 0, false);
        if (stream == (u64)MAX(tty_screen(), 1))
            device_add("console", i);
        inode_put(i);
    }
    if (is_terminal(0)) {
        tty.session = current->process->session;
        tty.foreground = current->process->group;
        tty.window.rows = (u16)option("rows", tty.window.rows);
        tty.window.columns = (u16)option("columns", tty.window.columns);
    }
    struct inode *own = device_new(S_IFCHR | 0666, DEVICE(5, 0), &own_tty_ops, (void *)(u64)tty_screen());
    device_add("tty", own);
    inode_put(own);
}
