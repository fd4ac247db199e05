/* Signals: what is pending, and what happens by default. */
#include "kernel.h"
#include "process.h"
#include "vm.h"

#define BIT(signal) (1UL << ((signal) - 1))
#define IGNORED_BY_DEFAULT (BIT(SIGCHLD) | BIT(SIGCONT) | BIT(SIGURG) | BIT(SIGWINCH))
#define STOPS (BIT(SIGSTOP) | BIT(SIGTSTP) | BIT(SIGTTIN) | BIT(SIGTTOU))
#define UNSTOPPABLE (BIT(SIGKILL) | BIT(SIGSTOP))

static const char *const names[] = {
    "0", "SIGHUP", "SIGINT", "SIGQUIT", "SIGILL", "SIGTRAP", "SIGABRT", "SIGBUS", "SIGFPE", "SIGKILL", "SIGUSR1",
    "SIGSEGV", "SIGUSR2", "SIGPIPE", "SIGALRM", "SIGTERM",
};

const char *signal_name(int signal) { return (u64)signal < COUNT(names) ? names[signal] : "signal"; }

void signal_send(struct task *t, int signal) { t->pending |= BIT(signal); }

static bool ignored(const struct task *t, int signal) {
    u64 handler = t->process->actions[signal].handler;

    if (BIT(signal) & UNSTOPPABLE)
        return signal == SIGSTOP;       /* nobody could wake the only process */
    return handler == SIG_IGN || (handler == SIG_DFL && BIT(signal) & (IGNORED_BY_DEFAULT | STOPS));
}

/* Forget what is ignored; is anything left that must be acted on? */
bool signal_waiting(void) {
    struct task *t = current;
    u64 set = t->pending & (~t->blocked | UNSTOPPABLE);

    for (int signal = 1; set && signal <= SIGNALS; signal++)
        if (set & BIT(signal) && ignored(t, signal)) {
            t->pending &= ~BIT(signal);
            set &= ~BIT(signal);
        }
    return set;
}

static int next_signal(void) {
    u64 set = current->pending & (~current->blocked | UNSTOPPABLE);

    current->pending &= ~(set & -set);
    return __builtin_ctzl(set) + 1;
}

void signal_deliver(void) {
    while (signal_waiting()) {
        int signal = next_signal();
        if (current->process->actions[signal].handler == SIG_DFL || signal == SIGKILL)
            process_killed(signal);
        signal_call_handler(signal);
    }
}

/* The program's own exception: it cannot be put off, so a blocked or ignored one kills. */
void signal_fault(int signal, u64 address) {
    struct task *t = current;

    if (t->blocked & BIT(signal) || t->process->actions[signal].handler <= SIG_IGN) {
        print("%s[%d]: %s at %lx, rip %lx", t->process->name, t->process->pid, signal_name(signal), address,
              frame_of(t)->rip);
        process_killed(signal);
    }
    t->fault_address = address;
    signal_call_handler(signal);
}
