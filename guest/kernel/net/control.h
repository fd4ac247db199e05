/* What a message carries beside its bytes: cmsg, as programs give and get it (control.c). */
#ifndef CONTROL_H
#define CONTROL_H

#include "socket.h"

struct control {
    struct rights *rights;
    bool has_sender;
    struct credentials sender;
    i32 hops, class;            /* of IP: its hop limit or time to live, and its traffic class; -1 = not said */
};

void control_complete(const struct socket *, struct control *);

i64 control_in(struct control *, u64 user, u64 size);   /* 0 or -errno */
/* Ends the rights.  *size: the room, and what was written; MSG_CTRUNC in *flags: there was not room enough. */
i64 control_out(const struct socket *, struct control *, u64 user, u64 *size, u32 *flags);

#endif
