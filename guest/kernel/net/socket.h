/* A socket: one end of a conversation.
 *
 *   stream      in ◄══ ring ══ the peer's out        bytes, in two rings that both ends share (stream.c)
 *   messages    first ─► … ─► last                   what has come, each with its sender's name (message.c)
 *   listener    backlog ─► connected, not accepted   and behind it `callers`, for whom there is no room yet (listen.c)
 *
 * What a name means is the family's: a path or an abstract name (local.c), or an address and a port (inet.c).
 */
#ifndef SOCKET_H
#define SOCKET_H

#include "address.h"
#include "fs/file.h"
#include "option.h"

#define SOCK_STREAM 1
#define SOCK_DGRAM 2
#define SOCK_RAW 3
#define SOCK_SEQPACKET 5

#define MSG_PEEK 2
#define MSG_CTRUNC 8
#define MSG_TRUNC 0x20
#define MSG_DONTWAIT 0x40
#define MSG_WAITALL 0x100
#define MSG_NOSIGNAL 0x4000
#define MSG_CMSG_CLOEXEC 0x40000000

struct rights;
struct socket;

struct credentials { i32 pid; u32 uid, gid; };

struct message {
    struct message *next;
    struct address from;
    struct endpoint source;             /* of inet's */
    struct credentials sender;
    struct rights *rights;
    i32 hops, class;                    /* of IP's header */
    u64 size;
    u8 bytes[];
};

struct family {
    u32 domain;
    i64 (*check)(u32 type, u32 *protocol);      /* may there be such a socket?  Protocol 0 becomes the usual one */
    i64 (*bind)(struct socket *, const struct address *);
    i64 (*prepare)(struct socket *);            /* a name, if it needs one, before it listens or sends */
    /* Whom a name means, and without one (NULL) whom it is connected to.  *found NULL: nobody, and nobody will tell. */
    i64 (*find)(struct socket *, const struct address *, struct socket **found);
    i64 (*settle)(struct socket *, const struct address *);     /* connect() of a socket for datagrams */
    void (*join)(struct socket *client, struct socket *server, const struct socket *listener);          /* names */
    void (*name)(const struct socket *, bool of_peer, struct address *);
    i64 (*deliver)(struct socket *, struct message *);          /* instead of finding a receiver: the kernel itself reads it */
    void (*forget)(struct socket *);            /* it ends */
};

enum socket_state { SOCKET_FRESH, SOCKET_LISTENING, SOCKET_CALLING, SOCKET_CONNECTED };

struct socket {
    const struct family *family;
    u32 type, protocol;
    u64 number;                         /* of the inode that its descriptors show; 0 while it waits to be accepted */
    enum socket_state state;
    struct socket *next;                /* of all there are */
    struct socket *peer;                /* NULL: none, or it is closed */
    bool peer_is_gone;                  /* of one for datagrams, and no call has said so yet */
    bool unannounced;                   /* connected, but connect() has only said EINPROGRESS */
    bool broken;                        /* TCP: it was reset */
    bool shut_in, shut_out;             /* of messages; a stream has that in its rings */
    i32 error;                          /* that the next call tells: SO_ERROR */
    struct credentials owner, peer_owner;
    struct pipe *in, *out;
    struct message *first, *last;
    u64 queued, count, arrivals;        /* bytes and messages that wait; and messages and callers that there ever were */
    struct socket *backlog, *callers, *listener, *next_in_line;
    u64 in_line, room;                  /* in the backlog; how many there may be */
    i32 option[OPTIONS];
    struct linger linger;
    u64 receive_timeout, send_timeout;  /* ns; 0 = for ever */
    union {
        struct { struct address called, peer_was; struct inode *place; };       /* local.c; peer_was: the name of a peer that is gone */
        struct { struct endpoint local, remote; };                      /* inet.c */
    };
};

extern struct socket *all_sockets;
extern const struct family local_family, inet_family, inet6_family, netlink_family;

static inline struct socket *socket_of(const struct file *f) { return f->own; }
static inline bool is_stream(const struct socket *s) { return s->type == SOCK_STREAM; }
static inline bool is_connected_type(const struct socket *s) { return s->type == SOCK_STREAM || s->type == SOCK_SEQPACKET; }
static inline bool is_local(const struct socket *s) { return s->family->domain == AF_UNIX; }

/* socket.c */
bool is_socket(const struct file *);
struct socket *socket_new(const struct family *, u32 type, u32 protocol);       /* NULL without memory */
struct file *socket_file(struct socket *, u32 flags);   /* NULL without memory; the socket stays the caller's */
void socket_end(struct socket *);
i64 socket_at(i32 fd, struct file **);                  /* 0 or -errno */
i64 socket_take_error(struct socket *);                 /* 0 or -errno, which is told once */
i64 socket_wait(const void *channel, u64 timeout);      /* -ERETRY, or what the call says */
struct credentials own_credentials(void);

/* stream.c */
i64 stream_pair(struct socket *, struct socket *);      /* 0 or -ENOMEM */
i64 stream_send(struct socket *, const u8 *from, u64 n, bool wait, bool loud, struct rights **);        /* loud: with SIGPIPE */
i64 stream_receive(struct socket *, u8 *to, u64 n, bool wait, bool peek, struct rights **);
void stream_shut(struct socket *, bool in, bool out);
void stream_end(struct socket *);
i16 stream_poll(const struct socket *);

/* message.c */
struct message *message_new(u64 size);
void message_shrink(struct message *, u64 room);
void message_free(struct message *);
i64 message_send(struct socket *, struct message *, const struct address *to, bool wait);      /* takes the message, if it says 0 */
void message_arrives(struct socket *, struct message *);
i64 message_receive(struct socket *, struct message **, bool wait);     /* the first, which stays; NULL: there will be none */
void message_done(struct socket *);                                     /* take the first out */
void messages_end(struct socket *);
i16 messages_poll(const struct socket *);

/* inet.c */
void inet_name_source(const struct socket *receiver, struct message *);

/* listen.c */
i64 socket_call(struct socket *, const struct address *, bool wait);    /* connect() */
struct socket *listener_take(struct socket *);          /* the first of its backlog, or NULL */
void listener_end(struct socket *), caller_ends(struct socket *);

/* sys_message.c: one call, one message */
i64 socket_move(struct file *, const struct iovec *, u64 count, bool send);

/* socket_ioctl.c */
i64 socket_ioctl(struct file *, u32 request, u64 argument);

#endif
