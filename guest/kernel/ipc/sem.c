/* System V's semaphores: sets of numbers, and operations that are done all together or wait. */
#include "kernel.h"
#include "mm/slab.h"
#include "mm/vm.h"
#include "syscall/syscalls.h"
#include "sysv.h"
#include "task/process.h"

#define SETS_MAX 1024
#define NUMBERS_MAX 4096U       /* in a set; Linux has 32000 */
#define OPERATIONS_MAX 500U
#define UNDOS_MAX 32000U          /* of all processes */
#define VALUE_MAX 32767
#define SEM_UNDO 0x1000
enum { GETPID = 11, GETVAL, GETALL, GETNCNT, GETZCNT, SETVAL, SETALL };

struct sembuf { u16 number; i16 change; i16 flags; };
struct sleeper { struct sleeper *next; u16 number; bool for_zero; };

struct semaphores {
    struct ipc ipc;
    u32 count;
    i64 used, changed;          /* when */
    struct sleeper *sleepers;
    struct { u16 value; i32 pid; } at[];
};

/* What is to be done when a process ends. */
struct undo { struct undo *next; i32 pid, id; u16 number; i32 change; };

struct semid_ds { struct ipc_perm perm; i64 used; u64 pad1; i64 changed; u64 pad2, count, unused[2]; };

static struct ipc_set sets = {.most = SETS_MAX};
static struct undo *undos;
static u32 undo_count;

static struct semaphores *set_at(i32 id) { return (struct semaphores *)ipc_at(&sets, id); }

i64 sys_semget(i32 key, i32 count, u32 flags) {
    struct ipc *found;

    if (count < 0 || (u32)count > NUMBERS_MAX)
        return -EINVAL;
    i64 error = ipc_open(&sets, key, flags, &found);
    if (error || found)
        return error ? error : (u32)count > ((struct semaphores *)found)->count ? -EINVAL : found->id;
    if (!count)
        return -EINVAL;
    struct semaphores *s = kmalloc(sizeof *s + (u32)count * sizeof *s->at);
    if (!s)
        return -ENOMEM;
    s->count = (u32)count;
    s->changed = ipc_seconds();
    return ipc_add(&sets, &s->ipc, key, flags);
}

/* Which operation cannot be done now (NULL: none; all are done), or -errno. */
static i64 try_all(struct semaphores *s, const struct sembuf *ops, u32 count, const struct sembuf **blocking) {
    i64 error = 0;
    u32 done = 0;

    *blocking = NULL;
    for (; done < count; done++) {
        const struct sembuf *op = &ops[done];
        i32 value = s->at[op->number].value;
        if (op->change ? value + op->change < 0 : value != 0) {
            *blocking = op;
            break;
        }
        if (value + op->change > VALUE_MAX) {
            error = -ERANGE;
            break;
        }
        s->at[op->number].value = (u16)(value + op->change);
    }
    if (done == count)
        return 0;
    while (done--)
        s->at[ops[done].number].value = (u16)(s->at[ops[done].number].value - ops[done].change);
    return error;
}

static i64 remember_undo(i32 id, const struct sembuf *op) {
    i32 pid = current->process->pid;
    struct undo *u = undos;

    while (u && !(u->pid == pid && u->id == id && u->number == op->number))
        u = u->next;
    if (!u) {
        if (undo_count >= UNDOS_MAX)
            return -ENOSPC;
        if (!(u = kmalloc(sizeof *u)))
            return -ENOMEM;
        undo_count++;
        *u = (struct undo){undos, pid, id, op->number, 0};
        undos = u;
    }
    u->change -= op->change;
    return 0;
}

static void forget_undos(i32 id, i32 pid) {
    for (struct undo **at = &undos, *u; (u = *at);)
        if (u->id == id || u->pid == pid) {
            *at = u->next;
            undo_count--;
            kfree(u);
        } else {
            at = &u->next;
        }
}

void semaphores_end(struct process *p) {
    for (const struct undo *u = undos; u; u = u->next) {
        struct semaphores *s = u->pid == p->pid ? set_at(u->id) : NULL;
        if (!s)
            continue;
        i32 value = s->at[u->number].value + u->change;
        s->at[u->number].value = (u16)(value < 0 ? 0 : MIN(value, VALUE_MAX));
        s->at[u->number].pid = p->pid;
        wakeup(s);
    }
    forget_undos(-1, p->pid);
}

/* Sleeps until the set has changed; -EIDRM if it is gone. */
static i64 wait_for(struct semaphores *s, const struct sembuf *op, u64 until) {
    struct sleeper me = {s->sleepers, op->number, !op->change}, **at;
    i32 id = s->ipc.id;

    s->sleepers = &me;
    int error = sleep_on(s, until);
    if (set_at(id) != s)
        return -EIDRM;
    for (at = &s->sleepers; *at != &me;)
        at = &(*at)->next;
    *at = me.next;
    return error == -ETIMEDOUT ? -EAGAIN : error;
}

static i64 operate(struct semaphores *s, const struct sembuf *ops, u32 count, u64 until) {
    const struct sembuf *blocking;
    u32 rights = 0;
    i64 error;

    for (u32 i = 0; i < count; i++) {
        if (ops[i].number >= s->count)
            return -EFBIG;
        rights |= ops[i].change ? 0222 : 0444;
    }
    if ((error = ipc_may(&s->ipc, rights)))
        return error;
    while (!(error = try_all(s, ops, count, &blocking)) && blocking) {
        if (blocking->flags & (i16)IPC_NOWAIT)
            return -EAGAIN;
        if ((error = wait_for(s, blocking, until)))
            return error;
    }
    if (error)
        return error;
    for (u32 i = 0; i < count && !error; i++) {
        s->at[ops[i].number].pid = current->process->pid;
        if (ops[i].flags & SEM_UNDO && ops[i].change)
            error = remember_undo(s->ipc.id, &ops[i]);
    }
    s->used = ipc_seconds();
    wakeup(s);
    return error;
}

static i64 semop(i32 id, u64 from, u32 count, u64 until) {
    if (!count || id < 0)
        return -EINVAL;
    if (count > OPERATIONS_MAX)
        return -E2BIG;
    struct sembuf *ops = kmalloc(count * sizeof *ops);
    i64 error = ops ? copy_in(ops, from, count * sizeof *ops) : -ENOMEM;
    struct semaphores *s = set_at(id);
    if (!error)
        error = s ? operate(s, ops, count, until) : -EINVAL;
    kfree(ops);
    return error;
}

i64 sys_semop(i32 id, u64 from, u32 count) { return semop(id, from, count, FOREVER); }

i64 sys_semtimedop(i32 id, u64 from, u32 count, u64 timeout) {
    u64 until = FOREVER;
    i64 error = timeout ? deadline_of(timeout, &until) : 0;

    return error ? error : semop(id, from, count, until);
}

static i64 sleepers_of(const struct semaphores *s, u32 number, bool for_zero) {
    i64 count = 0;

    for (const struct sleeper *p = s->sleepers; p; p = p->next)
        count += p->number == number && p->for_zero == for_zero;
    return count;
}

static i64 move_all(struct semaphores *s, u64 user, bool in) {
    u16 *values = kmalloc(s->count * sizeof *values);
    i64 error = values ? 0 : -ENOMEM;

    for (u32 i = 0; values && !in && i < s->count; i++)
        values[i] = s->at[i].value;
    if (!error)
        error = in ? copy_in(values, user, s->count * sizeof *values) : copy_out(user, values, s->count * sizeof *values);
    for (u32 i = 0; !error && in && i < s->count; i++)
        error = values[i] > VALUE_MAX ? -ERANGE : 0;
    for (u32 i = 0; !error && in && i < s->count; i++) {
        s->at[i].value = values[i];
        s->at[i].pid = current->process->pid;
    }
    kfree(values);
    if (in && !error) {
        forget_undos(s->ipc.id, -1);
        s->changed = ipc_seconds();
        wakeup(s);
    }
    return error;
}

static i64 set_value(struct semaphores *s, u32 number, i32 value) {
    if (value < 0 || value > VALUE_MAX)
        return -ERANGE;
    for (struct undo *u = undos; u; u = u->next)
        if (u->id == s->ipc.id && u->number == number)
            u->change = 0;
    s->at[number].value = (u16)value;
    s->at[number].pid = current->process->pid;
    s->changed = ipc_seconds();
    wakeup(s);
    return 0;
}

static i64 change(struct semaphores *s, u32 command, u64 from) {
    struct semid_ds d;

    if (command == IPC_SET && copy_in(&d, from, sizeof d))
        return -EFAULT;
    if (!ipc_owns(&s->ipc))
        return -EPERM;
    if (command == IPC_SET) {
        ipc_set_perm(&s->ipc, &d.perm);
        s->changed = ipc_seconds();
        return 0;
    }
    forget_undos(s->ipc.id, -1);
    ipc_remove(&sets, &s->ipc);
    wakeup(s);
    kfree(s);
    return 0;
}

i64 sys_semctl(i32 id, u32 number, u32 command, u64 argument) {
    struct semaphores *s = id < 0 ? NULL : set_at(id);

    if (!s || (command > IPC_STAT && (command < GETPID || command > SETALL)))
        return -EINVAL;
    if (command == IPC_RMID || command == IPC_SET)
        return change(s, command, argument);
    i64 error = ipc_may(&s->ipc, command == SETVAL || command == SETALL ? 0222 : 0444);
    if (error)
        return error;
    if (command == IPC_STAT) {
        struct semid_ds d = {.perm = ipc_perm_of(&s->ipc), .used = s->used, .changed = s->changed, .count = s->count};
        return copy_out(argument, &d, sizeof d);
    }
    if (command == GETALL || command == SETALL)
        return move_all(s, argument, command == SETALL);
    if (number >= s->count)
        return -EINVAL;
    switch (command) {
    case GETPID: return s->at[number].pid;
    case GETVAL: return s->at[number].value;
    case SETVAL: return set_value(s, number, (i32)argument);
    default: return sleepers_of(s, number, command == GETZCNT);
    }
}
