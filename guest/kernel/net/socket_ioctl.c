/* ioctl of sockets: what there is to read, and the interface. */
#include "ipc/pipe.h"
#include "kernel.h"
#include "mm/vm.h"
#include "socket.h"

#define TIOCOUTQ 0x5411
#define SIOCATMARK 0x8905
#define SIOCGIFNAME 0x8910
#define SIOCGIFCONF 0x8912
#define SIOCGIFFLAGS 0x8913
#define SIOCGIFADDR 0x8915
#define SIOCGIFBRDADDR 0x8919
#define SIOCGIFNETMASK 0x891b
#define SIOCGIFMTU 0x8921
#define SIOCGIFHWADDR 0x8927
#define SIOCGIFINDEX 0x8933
#define SIOCGIFTXQLEN 0x8942
#define LOOPBACK_INDEX 1
#define LOOPBACK_FLAGS 0x49     /* up, loopback, running */
#define LOOPBACK_MTU 65536
#define ARPHRD_LOOPBACK 772

struct ifreq {
    char name[16];
    union { struct { u16 family; u8 port[2], ip[4]; }; i32 number; i16 flags; u8 rest[24]; };
};

struct ifconf { i32 size, pad; u64 list; };

static const struct ifreq loopback = {.name = "lo", .family = AF_INET, .ip = {127, 0, 0, 1}};

static i64 list_interfaces(u64 argument) {
    struct ifconf c;

    if (copy_in(&c, argument, sizeof c))
        return -EFAULT;
    if (!c.list || c.size < (i32)sizeof loopback)
        c.size = c.list ? 0 : (i32)sizeof loopback;
    else if (copy_out(c.list, &loopback, c.size = sizeof loopback))
        return -EFAULT;
    return copy_out(argument, &c, sizeof c);
}

static i64 ask_interface(u32 request, u64 argument) {
    struct ifreq r;

    if (copy_in(&r, argument, sizeof r))
        return -EFAULT;
    if (request == SIOCGIFNAME ? r.number != LOOPBACK_INDEX : strnlen(r.name, sizeof r.name) != 2 || memcmp(r.name, "lo", 2) != 0)
        return -ENODEV;
    memset(r.rest, 0, 16);
    switch (request) {
    case SIOCGIFNAME:
        memcpy(r.name, loopback.name, sizeof r.name);
        r.number = LOOPBACK_INDEX;
        break;
    case SIOCGIFFLAGS:
        r.flags = LOOPBACK_FLAGS;
        break;
    case SIOCGIFADDR:
        memcpy(r.rest, loopback.rest, 16);
        break;
    case SIOCGIFNETMASK:
        r.family = AF_INET;
        r.ip[0] = 255;
        break;
    case SIOCGIFBRDADDR:
        r.family = AF_INET;
        break;
    case SIOCGIFMTU:
        r.number = LOOPBACK_MTU;
        break;
    case SIOCGIFHWADDR:
        r.family = ARPHRD_LOOPBACK;
        break;
    case SIOCGIFINDEX:
        r.number = LOOPBACK_INDEX;
        break;
    case SIOCGIFTXQLEN:
        r.number = 1000;
        break;
    default:
        return -ENOTTY;
    }
    return copy_out(argument, &r, sizeof r);
}

i64 socket_ioctl(struct file *f, u32 request, u64 argument) {
    const struct socket *s = socket_of(f);
    i32 count = 0;

    switch (request) {
    case FIONREAD:
        if (s->state == SOCKET_LISTENING)
            return -EINVAL;
        count = (i32)(s->in ? pipe_used(s->in) : s->first ? s->first->size : 0);
        return copy_out(argument, &count, sizeof count);
    case TIOCOUTQ: case SIOCATMARK:     /* all that was sent has arrived; nothing is out of band */
        return copy_out(argument, &count, sizeof count);
    case SIOCGIFCONF:
        return list_interfaces(argument);
    default:
        return request >> 8 == 0x89 ? ask_interface(request, argument) : -ENOTTY;
    }
}
