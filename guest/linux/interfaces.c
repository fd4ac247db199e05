/* Netlink and ioctl: the loopback interface and its addresses.  Others, which the machine may have, are passed over. */
#include "sockets.h"

#define REQUEST 1
#define ACK 4
#define DUMP 0x300
#define GETLINK 18
#define GETADDR 22
#define DONE 3
#define ERROR 2

struct header { u32 length; u16 type, flags; u32 sequence, pid; };
struct request { struct header h; u8 body[16]; };
struct name { u16 family, pad; u32 pid, groups; };

static char buffer[32768];

static i64 asks(i64 fd, u16 type, u16 flags, u8 family, u32 sequence) {
    struct request r = {{sizeof r, type, flags, sequence, 0}, {family}};

    return syscall(SYS_sendto, fd, &r, sizeof r, 0, NULL, 0);
}

static void show_attributes(const char *at, const char *end, u64 known) {
    while (at + 4 <= end) {
        u16 length = *(const u16 *)at, type = *(const u16 *)(at + 2);
        if (length < 4)
            return;
        if (type < 64 && known >> type & 1) {
            print("  %d:", type);
            for (i32 i = 4; i < length; i++)
                print(" %x", (u8)at[i]);
            print("\n");
        }
        at += (length + 3) & ~3;
    }
}

/* All records of an answer. */
static void answers(i64 fd) {
    for (;;) {
        i64 n = syscall(SYS_recvfrom, fd, buffer, sizeof buffer, 0, NULL, NULL);
        if (n <= 0) {
            print("%ld\n", n);
            return;
        }
        for (struct header *h = (struct header *)buffer; (char *)h + sizeof *h <= buffer + n; h = (struct header *)((char *)h + ((h->length + 3) & ~3u))) {
            char *body = (char *)(h + 1), *end = (char *)h + h->length;
            if (h->type == DONE || h->type == ERROR) {
                print("type %d sequence %u: %d\n", h->type, h->sequence, *(i32 *)body);
                return;
            }
            i32 number = *(i32 *)(body + 4);            /* of the interface: 1 is the loopback */
            if (number != 1)
                continue;
            print("type %d flags %d sequence %u", h->type, h->flags & ~0x20, h->sequence);
            if (h->type == 16)
                print(": hardware %d flags %x\n", *(u16 *)(body + 2), *(u32 *)(body + 8) & 0x49);
            else
                print(": family %d prefix %d flags %x scope %d\n", body[0], (u8)body[1], (u8)body[2], (u8)body[3]);
            show_attributes(body + (h->type == 16 ? 16 : 8), end, h->type == 16 ? 1u << 3 | 1u << 4 | 1u << 1 | 1u << 2 : 1u << 1 | 1u << 2 | 1u << 3);
            if (!(h->flags & 2))
                return;
        }
    }
}

static void links(void) {
    i64 fd = CALL(SYS_socket, AF_NETLINK, RAW, 0), second = syscall(SYS_socket, AF_NETLINK, DGRAM, 0);
    struct name n = {AF_NETLINK, 0, 0, 0};
    u32 size = sizeof n;

    print("-- links\n");
    CALL(SYS_socket, AF_NETLINK, STREAM, 0);
    CALL(SYS_socket, AF_NETLINK, RAW, 99);
    CALL(SYS_getsockname, fd, &n, &size);
    print("%u bytes, pid %u\n", size, n.pid);
    CALL(SYS_bind, fd, &n, sizeof n);
    CALL(SYS_bind, fd, &n, 4);
    syscall(SYS_getsockname, fd, &n, &size);
    CHECK(n.pid == (u32)syscall(SYS_getpid));
    show_ready("nothing asked", fd);
    RESULT(asks(fd, GETLINK, REQUEST | DUMP, 0, 7));
    show_ready("asked", fd);
    answers(fd);
    CALL(SYS_recvfrom, fd, buffer, 100, MSG_DONTWAIT, NULL, NULL);
    RESULT(asks(second, GETADDR, REQUEST | DUMP, AF_INET, 8));
    n = (struct name){0, 0, 5, 5}, size = sizeof n;
    CHECK(syscall(SYS_recvfrom, second, buffer, sizeof buffer, MSG_PEEK, &n, &size) > 40);
    print("from %d %u %u, %u bytes\n", n.family, n.pid, n.groups, size);
    answers(second);
    RESULT(asks(second, GETADDR, REQUEST | DUMP, AF_INET6, 9));
    answers(second);
    RESULT(asks(fd, 999, REQUEST, 0, 10));
    answers(fd);
    closes(fd), closes(second);
}

static void requests(void) {
    static const struct { const char *what; u32 number; } asked[] = {
        {"flags", 0x8913}, {"address", 0x8915}, {"mask", 0x891b}, {"mtu", 0x8921}, {"hardware", 0x8927}, {"number", 0x8933},
    };
    struct { char name[16]; union { u8 bytes[24]; i32 number; }; } r;
    i64 fd = syscall(SYS_socket, AF_INET, DGRAM, 0);

    print("-- requests\n");
    for (u64 i = 0; i < COUNT(asked); i++) {
        memset(&r, 0, sizeof r);
        memcpy(r.name, "lo", 2);
        i64 result = syscall(SYS_ioctl, fd, asked[i].number, &r);
        print("%s: %ld,", asked[i].what, result);
        for (i32 k = 0; k < 8; k++)
            print(" %x", r.bytes[k]);
        print("\n");
    }
    memset(&r, 0, sizeof r);
    r.number = 1;
    CALL(SYS_ioctl, fd, 0x8910, &r);
    print("%s\n", r.name);
    memcpy(r.name, "nothing", 8);
    CALL(SYS_ioctl, fd, 0x8913, &r);
    CALL(SYS_ioctl, fd, 0x8913, 8);
    struct { i32 size, pad; void *list; } c = {0, 0, NULL};
    CALL(SYS_ioctl, fd, 0x8912, &c);
    CHECK(c.size >= 40);
    c.size = sizeof buffer, c.list = buffer;
    CALL(SYS_ioctl, fd, 0x8912, &c);
    print("%s %d %d.%d.%d.%d\n", buffer, buffer[16], buffer[20], buffer[21], buffer[22], buffer[23]);
    closes(fd);
}

/* Is the line in the file?  Its sockets are among those of the whole machine. */
static i32 lists(const char *path, const char *line) {
    static char all[1 << 18];
    i64 fd = syscall(SYS_open, path, O_RDONLY, 0), n, size = 0;

    while ((n = syscall(SYS_read, fd, all + size, sizeof all - 1 - (u64)size)) > 0)
        size += n;
    all[size] = 0;
    closes(fd);
    return contains(all, line);
}

static void hex(char *to, u32 value, i32 digits) {
    for (i32 i = digits; i--; value >>= 4)
        to[i] = "0123456789ABCDEF"[value & 15];
}

/* "0100007F:port", and what follows. */
static const char *line_of(i64 fd, const char *rest) {
    static char line[100];
    struct { u16 family; u8 port[2], ip[4], zero[8]; } name;
    u32 size = sizeof name;

    syscall(SYS_getsockname, fd, &name, &size);
    memcpy(line, "0100007F:", 9);
    hex(line + 9, (u32)(name.port[0] << 8 | name.port[1]), 4);
    memcpy(line + 13, rest, strlen(rest) + 1);
    return line;
}

static void listings(void) {
    struct { u16 family; u8 port[2], ip[4], zero[8]; } here = {AF_INET, {0, 0}, {127, 0, 0, 1}, {0}};
    struct { u16 family; char path[16]; } local = {AF_UNIX, "\0paracell-lists"};
    i64 tcp = syscall(SYS_socket, AF_INET, STREAM, 0), udp = syscall(SYS_socket, AF_INET, DGRAM, 0), un = syscall(SYS_socket, AF_UNIX, STREAM, 0);

    print("-- listings\n");
    CALL(SYS_bind, tcp, &here, sizeof here);
    CALL(SYS_bind, udp, &here, sizeof here);
    CALL(SYS_bind, un, &local, 17);
    CALL(SYS_listen, tcp, 1);
    CALL(SYS_listen, un, 1);
    CHECK(lists("/proc/net/dev", "    lo:"));
    CHECK(lists("/proc/net/if_inet6", "00000000000000000000000000000001 01 80 10 80       lo\n"));
    CHECK(lists("/proc/net/tcp", line_of(tcp, " 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 ")));
    CHECK(lists("/proc/net/udp", line_of(udp, " 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 ")));
    CHECK(lists("/proc/net/unix", ": 00000002 00000000 00010000 0001 01 "));
    CHECK(lists("/proc/net/unix", " @paracell-lists\n"));
    CHECK(lists("/proc/net/tcp6", "  sl  local_address "));
    closes(tcp), closes(udp), closes(un);
    CHECK(!lists("/proc/net/unix", " @paracell-lists\n"));
}

int main(int argc, char **argv) {
    (void)argc, (void)argv;
    begin();
    links();
    requests();
    listings();
    return 42;
}
