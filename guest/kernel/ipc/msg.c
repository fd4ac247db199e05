/* System V's message queues: each message has a type, by which a receiver may choose. */
#include "kernel.h"
#include "mm/slab.h"
#include "mm/vm.h"
#include "syscall/syscalls.h"
#include "sysv.h"
#include "task/process.h"

#define QUEUES_MAX 256
#define SIZE_MAX_OF_MESSAGE 8192UL      /* kernel.msgmax */
#define QUEUE_BYTES 16384UL             /* kernel.msgmnb */
#define LETTERS_MAX 65536U              /* in all queues */
#define MSG_NOERROR 010000u
#define MSG_EXCEPT 020000u

struct letter { struct letter *next; i64 type; u64 size; u8 bytes[]; };

struct post {
    struct ipc ipc;
    struct letter *first;
    u64 bytes, count, room;
    i64 sent, received, changed;        /* when */
    i32 sender, receiver;               /* pids */
};

struct msqid_ds {
    struct ipc_perm perm;
    i64 sent, received, changed;
    u64 bytes, count, room;
    i32 sender, receiver;
    u64 unused[2];
};

static struct ipc_set queues = {.most = QUEUES_MAX};
static u32 letters;

static struct post *queue_at(i32 id) { return id < 0 ? NULL : (struct post *)ipc_at(&queues, id); }

i64 sys_msgget(i32 key, u32 flags) {
    struct ipc *found;
    i64 error = ipc_open(&queues, key, flags, &found);

    if (error || found)
        return error ? error : found->id;
    struct post *q = kmalloc(sizeof *q);
    if (!q)
        return -ENOMEM;
    q->room = QUEUE_BYTES;
    q->changed = ipc_seconds();
    return ipc_add(&queues, &q->ipc, key, flags);
}

static void drop(struct letter *l) {
    letters--;
    kfree(l);
}

static i64 read_letter(struct letter **made, u64 from, u64 size) {
    i64 type;

    if (copy_in(&type, from, sizeof type))
        return -EFAULT;
    if (type < 1)
        return -EINVAL;
    struct letter *l = *made = letters < LETTERS_MAX ? kmalloc(sizeof *l + size) : NULL;
    if (!l)
        return -ENOMEM;
    *l = (struct letter){NULL, type, size};
    letters++;
    i64 error = copy_in(l->bytes, from + sizeof type, size);
    if (error)
        drop(l);
    return error;
}

/* After a sleep the queue may be gone. */
static i64 sleep_at(struct post *q) {
    i32 id = q->ipc.id;
    int error = sleep_on(q, FOREVER);

    return queue_at(id) != q ? -EIDRM : error ? -ERESTARTNOHAND : 0;
}

static bool is_full(const struct post *q, u64 size) { return q->bytes + size > q->room || q->count >= q->room; }

static i64 put(i32 id, struct letter *l, u32 flags) {
    struct post *q = queue_at(id);
    struct letter **last;
    i64 error = !q ? -EINVAL : ipc_may(&q->ipc, 0222);

    while (!error && is_full(q, l->size)) {
        error = flags & IPC_NOWAIT ? -EAGAIN : sleep_at(q);
        if (!error)
            error = ipc_may(&q->ipc, 0222);
    }
    if (error)
        return error;
    for (last = &q->first; *last;)
        last = &(*last)->next;
    *last = l;
    q->bytes += l->size;
    q->count++;
    q->sent = ipc_seconds();
    q->sender = current->process->pid;
    wakeup(q);
    return 0;
}

i64 sys_msgsnd(i32 id, u64 from, u64 size, u32 flags) {
    struct letter *l;

    if (size > SIZE_MAX_OF_MESSAGE || id < 0)
        return -EINVAL;
    i64 error = read_letter(&l, from, size);
    if (!error && (error = put(id, l, flags)))
        drop(l);
    return error;
}

/* Type 0: the first; positive: the first of that type, or with MSG_EXCEPT of another; negative: of the lowest type up to there. */
static struct letter **choose(struct post *q, i64 type, u32 flags) {
    struct letter **best = NULL;
    i64 most = type == -0x7fffffffffffffffL - 1 ? 0x7fffffffffffffffL : -type;

    for (struct letter **at = &q->first; *at; at = &(*at)->next) {
        i64 own = (*at)->type;
        if (!type || (type > 0 && (flags & MSG_EXCEPT ? own != type : own == type)))
            return at;
        if (type < 0 && own <= most) {
            best = at;
            most = own - 1;             /* a later one has to be lower */
        }
    }
    return best;
}

static i64 take(struct post *q, struct letter **at, u64 to, u64 size, u32 flags) {
    struct letter *l = *at;
    u64 n = MIN(l->size, size);

    if (l->size > size && !(flags & MSG_NOERROR))
        return -E2BIG;
    *at = l->next;
    q->bytes -= l->size;
    q->count--;
    q->received = ipc_seconds();
    q->receiver = current->process->pid;
    wakeup(q);
    bool bad = copy_out(to, &l->type, sizeof l->type) || copy_out(to + sizeof l->type, l->bytes, n);
    drop(l);
    return bad ? -EFAULT : (i64)n;
}

i64 sys_msgrcv(i32 id, u64 to, u64 size, i64 type, u32 flags) {
    struct post *q = queue_at(id);
    struct letter **at = NULL;
    i64 error = !q || (i64)size < 0 ? -EINVAL : ipc_may(&q->ipc, 0444);

    while (!error && !(at = choose(q, type, flags))) {
        error = flags & IPC_NOWAIT ? -ENOMSG : sleep_at(q);
        if (!error)
            error = ipc_may(&q->ipc, 0444);
    }
    return error ? error : take(q, at, to, size, flags);
}

static void remove(struct post *q) {
    struct letter *l;

    while ((l = q->first)) {
        q->first = l->next;
        drop(l);
    }
    ipc_remove(&queues, &q->ipc);
    wakeup(q);
    kfree(q);
}

static i64 change(struct post *q, u32 command, u64 from) {
    struct msqid_ds d;

    if (command == IPC_SET && copy_in(&d, from, sizeof d))
        return -EFAULT;
    if (!ipc_owns(&q->ipc) || (command == IPC_SET && d.room > QUEUE_BYTES && own_uid()))
        return -EPERM;
    if (command == IPC_RMID) {
        remove(q);
        return 0;
    }
    ipc_set_perm(&q->ipc, &d.perm);
    q->room = MIN(d.room, QUEUE_BYTES * 64);
    q->changed = ipc_seconds();
    wakeup(q);
    return 0;
}

i64 sys_msgctl(i32 id, u32 command, u64 argument) {
    struct post *q = queue_at(id);

    if (!q || command > IPC_STAT)
        return -EINVAL;
    if (command != IPC_STAT)
        return change(q, command, argument);
    i64 error = ipc_may(&q->ipc, 0444);
    if (error)
        return error;
    struct msqid_ds d = {.perm = ipc_perm_of(&q->ipc), .sent = q->sent, .received = q->received, .changed = q->changed, .bytes = q->bytes,
                         .count = q->count, .room = q->room, .sender = q->sender, .receiver = q->receiver};
    return copy_out(argument, &d, sizeof d);
}
