/* /proc/net: the interface, and the sockets that there are. */
#include "ipc/pipe.h"
#include "kernel.h"
#include "proc/proctext.h"
#include "socket.h"

enum { ESTABLISHED = 1, SYN_SENT = 2, FIN_WAIT2 = 5, CLOSE = 7, CLOSE_WAIT = 8, LISTEN = 10 };

/* Digits as Linux writes them there: capital ones, all of them. */
static void add_hex(struct text *t, u64 value, u32 digits) {
    char s[17];

    for (u32 i = 0; i < digits; i++)
        s[i] = "0123456789ABCDEF"[value >> 4 * (digits - 1 - i) & 15];
    s[digits] = 0;
    text_add(t, "%s", s);
}

void text_net_dev(struct text *t) {
    text_add(t, "Inter-|   Receive                                                |  Transmit\n"
                " face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed\n"
                "    lo:       0       0    0    0    0     0          0         0        0       0    0    0    0     0       0          0\n");
}

void text_net_if_inet6(struct text *t) { text_add(t, "00000000000000000000000000000001 01 80 10 80       lo\n"); }

void text_net_route(struct text *t) {
    text_add(t, "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT%s\n", "");
}

static u32 state_of(const struct socket *s) {
    if (s->type == SOCK_DGRAM)
        return s->remote.port ? ESTABLISHED : CLOSE;
    if (s->state == SOCKET_LISTENING)
        return LISTEN;
    if (s->state != SOCKET_CONNECTED || s->broken)
        return s->state == SOCKET_CALLING ? SYN_SENT : CLOSE;
    return !s->out->writers ? FIN_WAIT2 : !s->in->writers ? CLOSE_WAIT : ESTABLISHED;
}

/* Words of the address as the processor has them, most of all the last. */
static void add_endpoint(struct text *t, const struct endpoint *e, bool old) {
    for (u32 i = old ? 12 : 0; i < 16; i += 4)
        add_hex(t, (u64)e->ip[i + 3] << 24 | (u64)e->ip[i + 2] << 16 | (u64)e->ip[i + 1] << 8 | e->ip[i], 8);
    text_add(t, ":");
    add_hex(t, e->port, 4);
    text_add(t, " ");
}

static u64 waiting_in(const struct socket *s) { return s->state == SOCKET_LISTENING ? s->in_line : s->in ? pipe_used(s->in) : s->queued; }

static void add_inet(struct text *t, u32 domain, u32 type) {
    u32 line = 0;

    text_add(t, domain == AF_INET ? "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode%s\n"
                                  : "  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt"
                                    "   uid  timeout inode%s\n", "");
    for (const struct socket *s = all_sockets; s; s = s->next) {
        if (s->family->domain != domain || s->type != type || !s->local.port)
            continue;
        text_add(t, "%4u: ", line++);
        add_endpoint(t, &s->local, domain == AF_INET);
        add_endpoint(t, &s->remote, domain == AF_INET);
        add_hex(t, state_of(s), 2);
        text_add(t, " ");
        add_hex(t, s->out ? pipe_used(s->out) : 0, 8);
        text_add(t, ":");
        add_hex(t, waiting_in(s), 8);
        text_add(t, " 00:00000000 00000000 %5u        0 %lu 1\n", s->owner.uid, s->number);
    }
}

void text_net_tcp(struct text *t) { add_inet(t, AF_INET, SOCK_STREAM); }
void text_net_tcp6(struct text *t) { add_inet(t, AF_INET6, SOCK_STREAM); }
void text_net_udp(struct text *t) { add_inet(t, AF_INET, SOCK_DGRAM); }
void text_net_udp6(struct text *t) { add_inet(t, AF_INET6, SOCK_DGRAM); }

void text_net_unix(struct text *t) {
    text_add(t, "Num       RefCount Protocol Flags    Type St Inode Path%s\n", "");
    for (const struct socket *s = all_sockets; s; s = s->next) {
        char path[LOCAL_MAX + 1] = {0};
        if (!is_local(s))
            continue;
        for (u32 i = LOCAL_HEAD; i < s->called.size; i++)
            path[i - LOCAL_HEAD] = (char)s->called.bytes[i];
        if (s->called.size && !path[0])
            for (u32 i = 0; i + LOCAL_HEAD < s->called.size; i++)
                path[i] = path[i] ? path[i] : '@';
        text_add(t, "0000000000000000: 00000002 00000000 ");
        add_hex(t, s->state == SOCKET_LISTENING ? 0x10000 : 0, 8);
        text_add(t, " ");
        add_hex(t, s->type, 4);
        text_add(t, " ");
        add_hex(t, s->peer ? 3 : 1, 2);
        text_add(t, " %5lu%s%s\n", s->number, path[0] ? " " : "", path);
    }
}
