/* The terminal's session and foreground group, and ioctl. */
#include "kernel.h"
#include "mm/vm.h"
#include "platform/console.h"
#include "task/job.h"
#include "task/process.h"
#include "tty.h"
#include "tty_line.h"

void tty_tell_foreground(int signal) {
    struct siginfo info = {.signal = signal, .code = SI_KERNEL};

    signal_group(tty.foreground, &info);
}

void tty_process_ends(const struct process *p) {
    if (!tty.session || p->session != tty.session || p->pid != tty.session)
        return;
    tty_tell_foreground(SIGHUP);
    tty_tell_foreground(SIGCONT);
    tty.session = tty.foreground = 0;
}

/* Only the foreground may: the others are stopped, or told that they cannot be. */
i64 tty_check_background(int signal) {
    const struct process *p = current->process;
    struct siginfo info = {.signal = signal, .code = SI_KERNEL};

    if (!tty.session || p->session != tty.session || p->group == tty.foreground)
        return 0;
    if (current->blocked & SIGNAL_BIT(signal) || p->actions[signal].handler == SIG_IGN)
        return signal == SIGTTIN ? -EIO : 0;
    if (group_is_orphaned(p))
        return -EIO;
    signal_group(p->group, &info);
    return -ERESTART;
}

static i64 set_settings(u64 from, bool drop_input) {
    struct termios wanted;
    i64 error = tty_check_background(SIGTTOU);

    if (error)
        return error;
    if (copy_in(&wanted, from, sizeof wanted))
        return -EFAULT;
    if (drop_input)
        tty_drop_input();
    tty_set(&wanted);
    return 0;
}

enum { INPUT, OUTPUT, BOTH };

/* Output is on its way already. */
static i64 flush(u64 what) {
    i64 error = tty_check_background(SIGTTOU);

    if (error)
        return error;
    if (what > BOTH)
        return -EINVAL;
    if (what != OUTPUT)
        tty_drop_input();
    return 0;
}

enum { STOP_OUTPUT, START_OUTPUT, STOP_INPUT, START_INPUT };

/* TCIOFF and TCION have no effect: the other end of the line cannot be told to wait. */
static i64 control_output(u64 how) {
    i64 error = tty_check_background(SIGTTOU);

    if (error)
        return error;
    if (how == STOP_OUTPUT || how == START_OUTPUT)
        tty_pause(how == STOP_OUTPUT);
    return how <= START_INPUT ? 0 : -EINVAL;
}

static void resize(struct winsize new) {
    if (memcmp(&new, &tty.window, sizeof new) == 0)
        return;
    tty.window = new;
    tty_tell_foreground(SIGWINCH);
}

static i64 set_window(u64 from) {
    struct winsize new;

    if (copy_in(&new, from, sizeof new))
        return -EFAULT;
    resize(new);
    return 0;
}

/* A serial line has no word for it, so it comes beside what is typed, on the other line, two bytes each: lines and columns of the
 * screen, or 0 and a signal for the first process. */
void tty_told(void) {
    u16 word[2];

    while (plat_console_read(2, (u8 *)word, sizeof word) == sizeof word)
        if (word[0])
            resize((struct winsize){.rows = word[0], .columns = word[1]});
        else if (word[1] && word[1] <= SIGNALS)
            signal_kernel(init_process, word[1]);
}

static i64 set_foreground(u64 from) {
    const struct process *me = current->process;
    i32 group;

    if (copy_in(&group, from, sizeof group))
        return -EFAULT;
    if (me->session != tty.session)
        return -ENOTTY;
    i64 error = tty_check_background(SIGTTOU);
    if (error)
        return error;
    for (const struct process *p = processes; p; p = p->next)
        if (p->group == group) {
            if (p->session != tty.session)
                return -EPERM;
            tty.foreground = group;
            return 0;
        }
    return group < 0 ? -EINVAL : -ESRCH;
}

/* A session leader acquires a terminal that controls no session. */
i64 tty_take_over(void) {
    const struct process *p = current->process;

    if (p->session == tty.session)
        return 0;
    if (p->session != p->pid || tty.session)
        return -EPERM;
    tty.session = p->session;
    tty.foreground = p->group;
    return 0;
}

static i64 give_up(void) {
    if (current->process->session != tty.session)
        return -ENOTTY;
    tty_process_ends(current->process);
    return 0;
}

i64 tty_ioctl(struct file *f, u32 request, u64 argument) {
    bool mine = current->process->session == tty.session;
    i32 word;

    if (request == FIONREAD) {
        tty_pump();
        word = (i32)tty_count();
        return copy_out(argument, &word, sizeof word);
    }
    if (!is_terminal(tty_stream(f)))
        return -ENOTTY;
    switch (request) {
    case TCGETS:
        return copy_out(argument, &tty.settings, sizeof tty.settings);
    case TCSETS: case TCSETSW: case TCSETSF:
        return set_settings(argument, request == TCSETSF);
    case TCFLSH:
        return flush(argument);
    case TCXONC:
        return control_output(argument);
    case TCSBRK:
        return 0;                       /* what was written is on its way already */
    case TIOCGWINSZ:
        return copy_out(argument, &tty.window, sizeof tty.window);
    case TIOCSWINSZ:
        return set_window(argument);
    case TIOCGPGRP:
        return mine ? copy_out(argument, &tty.foreground, sizeof tty.foreground) : -ENOTTY;
    case TIOCSPGRP:
        return set_foreground(argument);
    case TIOCGSID:
        return mine ? copy_out(argument, &tty.session, sizeof tty.session) : -ENOTTY;
    case TIOCSCTTY:
        return tty_take_over();
    case TIOCNOTTY:
        return give_up();
    default:
        return -ENOTTY;
    }
}
