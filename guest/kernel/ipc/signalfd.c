/* signalfd: a read returns the caller's pending signals as messages. */
#include "fs/file.h"
#include "kernel.h"
#include "mm/slab.h"
#include "mm/vm.h"
#include "syscall/syscalls.h"
#include "task/process.h"

#define SET_SIZE 8

struct wanted { u64 set; };

struct message {
    u32 signal;
    i32 error, code;
    u32 pid, uid;
    i32 fd;
    u32 timer, band, overrun, trap;
    i32 status, value;
    u64 pointer, user, system, address;
    u8 rest[48];
};

static u64 set_of(const struct file *f) { return ((const struct wanted *)f->own)->set; }

static struct message message_of(const struct siginfo *info) {
    bool fault = info->code > 0 && (info->signal == SIGSEGV || info->signal == SIGBUS || info->signal == SIGILL ||
                                    info->signal == SIGFPE || info->signal == SIGTRAP);
    struct message m = {.signal = (u32)info->signal, .error = info->error, .code = info->code};

    if (fault) {
        m.address = info->address;
        return m;
    }
    m.pid = (u32)info->pid;
    m.uid = info->uid;
    if (info->signal == SIGCHLD && info->code > 0) {
        m.status = info->status;
        m.user = (u64)info->user;
        m.system = (u64)info->system;
    } else {
        m.value = info->status;
        m.pointer = info->value;
    }
    return m;
}

static i64 signalfd_read(struct file *f, u8 *to, u64 n, u64 moved) {
    struct siginfo info;
    u64 done = 0;

    if (moved)
        return 0;
    if (n < sizeof(struct message))
        return -EINVAL;
    while (done + sizeof(struct message) <= n) {
        if (signal_take(set_of(f), &info)) {
            struct message m = message_of(&info);
            memcpy(to + done, &m, sizeof m);
            done += sizeof m;
        } else if (done) {
            break;
        } else {
            return f->flags & O_NONBLOCK ? -EAGAIN : sleep_then_retry(&current->signals);
        }
    }
    return (i64)done;
}

/* Ready if the calling thread, not the file's creator, has such a signal. */
static i16 signalfd_poll(struct file *f) {
    return (current->signals.set | current->process->signals.set) & set_of(f) ? POLLIN : 0;
}

static u64 signalfd_poll_generation(struct file *f) {
    (void)f;
    return current->signals.arrived + current->process->signals.arrived;
}

static void signalfd_release(struct file *f) { kfree(f->own); }

static const struct file_ops signalfd_ops = {
    .read = signalfd_read, .poll = signalfd_poll, .poll_generation = signalfd_poll_generation, .release = signalfd_release, .stream = true,
    .whole = true,
};

i64 sys_signalfd4(i32 fd, u64 set, u64 size, u32 flags) {
    u64 wanted;

    if (size != SET_SIZE || flags & ~(u32)(O_CLOEXEC | O_NONBLOCK))
        return -EINVAL;
    if (copy_in(&wanted, set, sizeof wanted))
        return -EFAULT;
    struct file *f = fd == -1 ? file_nameless(&signalfd_ops, kmalloc(sizeof(struct wanted)), O_RDWR | (flags & O_NONBLOCK))
                              : file_at(fd);
    if (!f)
        return fd == -1 ? -ENOMEM : -EBADF;
    if (f->ops != &signalfd_ops)
        return -EINVAL;
    ((struct wanted *)f->own)->set = wanted & ~UNSTOPPABLE;
    return fd == -1 ? fd_install(f, 0, flags & O_CLOEXEC) : fd;
}

i64 sys_signalfd(i32 fd, u64 set, u64 size) { return sys_signalfd4(fd, set, size, 0); }
