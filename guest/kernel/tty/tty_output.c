/* Terminal output: line ends, echo, and Ctrl-S, which stops it. */
#include "kernel.h"
#include "platform/console.h"
#include "tty_line.h"

static bool paused;                     /* by a program: Ctrl-Q does not undo that */
static u8 held[256];                    /* echo, while the output is stopped */
static u64 held_count;

void tty_print(int stream, const u8 *from, u64 n) {
    bool lines = is_terminal(stream) && tty.settings.oflag & OPOST && tty.settings.oflag & ONLCR;

    while (stream && n) {
        u64 line = 0;
        while (line < n && !(lines && from[line] == '\n'))
            line++;
        plat_console_write(stream, from, line);
        if (line < n)
            plat_console_write(stream, (const u8 *)"\r\n", 2), line++;
        from += line;
        n -= line;
    }
}

static void show(const char *bytes, u64 n) {
    if (!(tty.settings.lflag & ECHO))
        return;
    if (!tty.stopped)
        tty_print(tty_screen(), (const u8 *)bytes, n);
    else
        for (u64 i = 0; i < n && held_count < sizeof held; i++)
            held[held_count++] = (u8)bytes[i];
}

/* Shown as two characters, such as ^A. */
static bool is_control(u8 c) { return tty.settings.lflag & ECHOCTL && (c < 32 || c == 127) && c != '\t' && c != '\n'; }

void tty_echo(u8 c) {
    if (is_control(c))
        show((char[]){'^', (char)(c ^ 64)}, 2);
    else
        show((char[]){(char)c}, 1);
}

void tty_unecho(u8 c) { show("\b \b\b \b", is_control(c) ? 6 : 3); }

void tty_drop_echo(void) { held_count = 0; }

void tty_start(void) {
    if (!tty.stopped || paused)
        return;
    tty.stopped = false;
    tty_print(tty_screen(), held, held_count);
    held_count = 0;
    tty.poll_generation++;
    file_changed(&tty.stopped);
}

void tty_pause(bool on) {
    if (on == paused)
        return;
    paused = on;
    if (on)
        tty.stopped = true;
    else
        tty_start();
}
