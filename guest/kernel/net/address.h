/* The names of sockets: sockaddr, as programs give and get it (address.c). */
#ifndef ADDRESS_H
#define ADDRESS_H

#include "types.h"

#define AF_UNSPEC 0
#define AF_UNIX 1
#define AF_INET 2
#define AF_INET6 10
#define AF_NETLINK 16

#define LOCAL_MAX 108                   /* bytes of a local name */

struct address {
    u32 size;                           /* of what follows; 0 = none */
    union {
        u16 family;
        u8 bytes[128];
        struct { u16 local_family; char path[LOCAL_MAX]; };
        struct { u16 inet_family; u8 port[2], ip4[4]; };
        struct { u16 inet6_family; u8 port6[2]; u32 flow; u8 ip6[16]; u32 scope; };
        struct { u16 netlink_family, pad; u32 pid, groups; };
    };
};

#define LOCAL_HEAD 2U                   /* the family, before a local name */
#define INET_SIZE 16U
#define INET6_SIZE 28U
#define INET6_LEAST 24U                 /* without a scope */

/* An address of IPv4 is its image in IPv6, ::ffff:a.b.c.d. */
struct endpoint { u8 ip[16]; u16 port; };

i64 address_in(struct address *, u64 user, u32 size);                   /* 0 or -errno */
i64 address_out(const struct address *, u64 user, u64 size);            /* size: where the program says its room, and learns the size */

#endif
