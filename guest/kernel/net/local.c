/* AF_UNIX: names are files, or, after a first byte of 0, just names. */
#include "fs/inode.h"
#include "kernel.h"
#include "mm/slab.h"
#include "socket.h"
#include "task/ids.h"
#include "task/process.h"

#define LAST_OF_ITSELF 0xfffffu         /* a name that a socket gives itself has five digits */

static i64 local_check(u32 type, u32 *protocol) {
    if (*protocol > 1)
        return -EPROTONOSUPPORT;
    *protocol = 0;
    return type == SOCK_STREAM || type == SOCK_DGRAM || type == SOCK_SEQPACKET ? 0 : -ESOCKTNOSUPPORT;
}

static bool is_abstract(const struct address *a) { return !a->path[0]; }

static i64 check_name(struct address *a) {
    if (a->size <= LOCAL_HEAD || a->size > LOCAL_HEAD + LOCAL_MAX || a->local_family != AF_UNIX)
        return -EINVAL;
    if (!is_abstract(a)) {
        u64 n = strnlen(a->path, a->size - LOCAL_HEAD);
        a->size = LOCAL_HEAD + (u32)n + 1;
        a->bytes[LOCAL_HEAD + n] = 0;   /* bytes[] goes on behind the longest path */
    }
    return 0;
}

static struct socket *find_abstract(u32 type, const struct address *a) {
    for (struct socket *s = all_sockets; s; s = s->next)
        if (is_local(s) && s->type == type && !s->listener && s->called.size == a->size &&
            memcmp(s->called.bytes, a->bytes, a->size) == 0 && is_abstract(&s->called))
            return s;
    return NULL;
}

static i64 bind_file(struct socket *s, const struct address *a) {
    char last[NAME_MAX + 1];
    struct inode *directory, *i;
    i64 error = name_parent(current->process->directory, a->path, &directory, last);

    if (error)
        return error;
    if (!last[0] || strcmp(last, ".") == 0 || strcmp(last, "..") == 0 || directory_find(directory, last, strlen(last)))
        error = -EADDRINUSE;
    else if (directory->refresh || !directory->links)
        error = -ENOENT;
    else
        error = inode_may(directory, MAY_CHANGE);
    if (!error && !(i = inode_new(S_IFSOCK | (0777 & ~current->process->umask))))
        error = -ENOMEM;
    if (!error && (error = directory_add(directory, last, strlen(last), i)))
        inode_put(i);
    inode_put(directory);
    if (error)
        return error;
    s->place = i;                       /* with its reference */
    i->bound = s;
    s->called = *a;
    return 0;
}

static i64 bind_of_itself(struct socket *s) {
    static u32 next = 1;
    struct address a = {.size = LOCAL_HEAD + 6, .local_family = AF_UNIX};
    char name[8];

    do {
        format(name, sizeof name, "%06x", next++ & LAST_OF_ITSELF);
        memcpy(a.path + 1, name + 1, 5);
    } while (find_abstract(s->type, &a));
    s->called = a;
    return 0;
}

static i64 local_bind(struct socket *s, const struct address *given) {
    struct address a = *given;

    if (a.size == LOCAL_HEAD && a.local_family == AF_UNIX)
        return s->called.size ? 0 : bind_of_itself(s);
    i64 error = check_name(&a);
    if (error || s->called.size)
        return -EINVAL;
    if (!is_abstract(&a))
        return bind_file(s, &a);
    if (find_abstract(s->type, &a))
        return -EADDRINUSE;
    s->called = a;
    return 0;
}

static i64 local_prepare(struct socket *s) { return is_connected_type(s) && !s->called.size ? -EINVAL : 0; }

static i64 find_file(const struct address *a, struct socket **found) {
    struct inode *i;
    i64 error = name_lookup(current->process->directory, a->path, true, &i);

    if (error)
        return error;
    error = inode_may(i, MAY_WRITE);
    *found = (i->mode & S_IFMT) == S_IFSOCK ? i->bound : NULL;
    inode_put(i);
    return error;
}

static i64 find_peer(struct socket *s, struct socket **found) {
    bool told = s->peer_is_gone;

    *found = s->peer;
    s->peer_is_gone = false;
    return *found ? 0 : told ? -ECONNREFUSED : -ENOTCONN;
}

static i64 local_find(struct socket *s, const struct address *given, struct socket **found) {
    if (!given)
        return find_peer(s, found);
    struct address a = *given;
    i64 error = check_name(&a);
    if (!error && is_abstract(&a))
        *found = find_abstract(s->type, &a);
    else if (!error)
        error = find_file(&a, found);
    if (error)
        return error;
    if (!*found)
        return -ECONNREFUSED;
    if ((*found)->type != s->type)
        return -EPROTOTYPE;
    if (is_connected_type(s))
        return (*found)->state == SOCKET_LISTENING ? 0 : -ECONNREFUSED;
    return (*found)->peer && (*found)->peer != s ? -EPERM : 0;
}

static i64 local_settle(struct socket *s, const struct address *a) {
    struct socket *found = NULL;
    i64 error = a->size >= LOCAL_HEAD && a->family == AF_UNSPEC ? 0 : local_find(s, a, &found);

    if (error)
        return error;
    s->peer = found;
    s->peer_is_gone = false;
    file_changed(s);
    return 0;
}

static void local_join(struct socket *client, struct socket *server, const struct socket *listener) {
    (void)client;
    server->called = listener->called;
}

static void local_name(const struct socket *s, bool of_peer, struct address *a) {
    const struct address *called = !of_peer ? &s->called : s->peer ? &s->peer->called : &s->peer_was;

    *a = called->size ? *called : (struct address){.size = LOCAL_HEAD, .local_family = AF_UNIX};
}

static void local_forget(struct socket *s) {
    if (!s->place)
        return;
    s->place->bound = NULL;
    inode_put(s->place);
}

const struct family local_family = {
    .domain = AF_UNIX, .check = local_check, .bind = local_bind, .prepare = local_prepare, .find = local_find,
    .settle = local_settle, .join = local_join, .name = local_name, .forget = local_forget,
};
