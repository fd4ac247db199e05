/* SCM_RIGHTS: open files on their way from one process to another.  The sender attaches them to the first byte of its
 * message; the receiver gets them when it reads that byte. */
#include "rights.h"

#include "fs/file.h"
#include "ipc/pipe.h"
#include "kernel.h"
#include "mm/slab.h"
#include "mm/vm.h"
#include "task/process.h"

#define SOL_SOCKET 1
#define SCM_RIGHTS 1
#define FILES_MAX 16

struct cmsg { u64 length; i32 level, type; };

struct rights {
    struct rights *next;
    u64 at;
    u32 count;
    struct file *file[FILES_MAX];
};

i64 rights_send(struct pipe *p, u64 control, u64 size) {
    struct { struct cmsg head; i32 fd[FILES_MAX]; } message;
    struct rights *r, **last = &p->rights;
    u64 count;

    if (size < sizeof message.head || copy_in(&message.head, control, sizeof message.head))
        return size ? -EFAULT : 0;
    if (message.head.level != SOL_SOCKET || message.head.type != SCM_RIGHTS || message.head.length > MIN(size, sizeof message) ||
        message.head.length < sizeof message.head)
        return -EINVAL;
    count = (message.head.length - sizeof message.head) / sizeof *message.fd;
    if (copy_in(message.fd, control + sizeof message.head, count * sizeof *message.fd))
        return -EFAULT;
    for (u64 i = 0; i < count; i++)
        if (!file_at(message.fd[i]))
            return -EBADF;
    if (!(r = kmalloc(sizeof *r)))
        return -ENOMEM;
    r->at = p->head;
    for (r->count = 0; r->count < count; r->count++) {
        r->file[r->count] = file_at(message.fd[r->count]);
        r->file[r->count]->refs++;
    }
    while (*last)
        last = &(*last)->next;
    *last = r;
    return 0;
}

static void drop_one(struct rights **at) {
    struct rights *r = *at;

    *at = r->next;
    for (u32 i = 0; i < r->count; i++)
        if (r->file[i])
            file_put(r->file[i]);
    kfree(r);
}

i64 rights_receive(struct pipe *p, u64 control, u64 *size, bool close_on_exec) {
    struct { struct cmsg head; i32 fd[FILES_MAX]; } message = {{0, SOL_SOCKET, SCM_RIGHTS}, {0}};
    u64 room = *size < sizeof message.head ? 0 : MIN((*size - sizeof message.head) / sizeof *message.fd, FILES_MAX);
    u64 count = 0;

    *size = 0;
    while (p->rights && p->rights->at < p->tail) {
        struct rights *r = p->rights;
        for (u32 i = 0; i < r->count && count < room; i++) {
            struct file *f = r->file[i];
            r->file[i] = NULL;          /* its reference is the table's now */
            i32 fd = fd_install(f, 0, close_on_exec);
            if (fd >= 0)
                message.fd[count++] = fd;
        }
        drop_one(&p->rights);
    }
    if (!count)
        return 0;
    message.head.length = sizeof message.head + count * sizeof *message.fd;
    *size = ROUND_UP(message.head.length, 8);
    return copy_out(control, &message, message.head.length);
}

void rights_drop(struct pipe *p, u64 from) {
    for (struct rights **at = &p->rights; *at;)
        if ((*at)->at >= from)
            drop_one(at);
        else
            at = &(*at)->next;
}
