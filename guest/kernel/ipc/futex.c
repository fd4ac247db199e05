/* Futexes: a thread sleeps on a word of memory until another thread wakes those who sleep there.
 *
 * A word is known by its address space and address, or, where it is shared, by its file and offset,
 * so that two processes mean the same one.
 */
#include "futex.h"

#include "kernel.h"
#include "mm/vm.h"
#include "syscall/syscalls.h"
#include "task/process.h"
#include "time/time.h"

#define ALL 0xffffffffu
#define OWNER_DIED 0x40000000u
#define WAITERS 0x80000000u
#define TID_MASK 0x3fffffffu
#define ROBUST_MAX 2048

struct word { const void *of; u64 at; };

struct waiter {
    struct word word;
    u32 bits;
    bool woken;
    struct waiter *next;
};

static struct waiter *waiters;          /* the longest waiting first */

static int word_of(u64 at, bool private, struct word *w) {
    struct mm *mm = current->process->mm;
    struct vma *v = at < USER_TOP ? vma_find(mm, at) : NULL;

    if (at & 3)
        return -EINVAL;
    *w = (struct word){mm, at};
    if (!private && (!v || at < v->start))
        return -EFAULT;
    if (!private && v->shared && v->inode)
        *w = (struct word){v->inode, v->offset + (at - v->start)};
    return 0;
}

static bool same(struct word a, struct word b) { return a.of == b.of && a.at == b.at; }

static void remove(struct waiter *w) {
    struct waiter **at = &waiters;

    while (*at && *at != w)
        at = &(*at)->next;
    if (*at)
        *at = w->next;
}

static i64 wake(struct word word, u32 count, u32 bits) {
    struct waiter **at = &waiters;
    u32 woken = 0;

    while (*at && woken < count) {
        struct waiter *w = *at;
        if (same(w->word, word) && w->bits & bits) {
            *at = w->next;
            w->woken = true;
            wakeup(w);
            woken++;
        } else {
            at = &w->next;
        }
    }
    return woken;
}

static void move_waiters(struct word from, struct word to, u32 count, i64 *moved) {
    for (struct waiter *w = waiters; w && count; w = w->next)
        if (same(w->word, from)) {
            w->word = to;
            count--;
            ++*moved;
        }
}

static i64 wait(u64 at, struct word word, u32 value, u32 bits, u64 until) {
    struct waiter w = {.word = word, .bits = bits}, **last = &waiters;
    int error = 0;
    u32 now;

    if (!bits)
        return -EINVAL;
    if (copy_in(&now, at, sizeof now))
        return -EFAULT;
    if (now != value)
        return -EAGAIN;
    while (*last)
        last = &(*last)->next;
    *last = &w;
    while (!w.woken && !error)
        error = sleep_on(&w, until);
    if (w.woken)
        return 0;
    remove(&w);
    if (error == -ETIMEDOUT)
        return error;
    return until == FOREVER ? -ERESTART : cut_short(until);
}

static i64 deadline(u64 timeout, bool relative, u32 clock, u64 *until) {
    struct timespec t;

    *until = FOREVER;
    if (!timeout)
        return 0;
    if (copy_in(&t, timeout, sizeof t))
        return -EFAULT;
    if (t.sec < 0 || (u64)t.nsec >= NS_PER_S)
        return -EINVAL;
    *until = kept_deadline(relative ? ns_of_timespec(t) + now_ns() : since_boot(clock, t));
    return 0;
}

/* The operation in FUTEX_WAKE_OP's argument:  op 4 │ cmp 4 │ oparg 12 │ cmparg 12. */
static i64 change_word(u64 at, u32 op, bool *holds) {
    i32 argument = (i32)(op << 8) >> 20, compared = (i32)(op << 20) >> 20, old, new;

    if (copy_in(&old, at, sizeof old))
        return -EFAULT;
    if (op & 1u << 31)
        argument = 1 << (argument & 31);
    switch (op >> 28 & 7) {
    case 0: new = argument; break;
    case 1: new = old + argument; break;
    case 2: new = old | argument; break;
    case 3: new = old & ~argument; break;
    case 4: new = old ^ argument; break;
    default: return -ENOSYS;
    }
    switch (op >> 24 & 15) {
    case 0: *holds = old == compared; break;
    case 1: *holds = old != compared; break;
    case 2: *holds = old < compared; break;
    case 3: *holds = old <= compared; break;
    case 4: *holds = old > compared; break;
    case 5: *holds = old >= compared; break;
    default: return -ENOSYS;
    }
    return copy_out(at, &new, sizeof new);
}

static i64 requeue(u64 at, struct word word, u32 count, u32 move, struct word to, const u32 *expected) {
    u32 now;

    if ((i32)count < 0 || (i32)move < 0)
        return -EINVAL;
    if (expected && copy_in(&now, at, sizeof now))
        return -EFAULT;
    if (expected && now != *expected)
        return -EAGAIN;
    i64 done = wake(word, count, ALL), moved = 0;
    move_waiters(word, to, move, &moved);
    return expected ? done + moved : done;
}

i64 sys_futex(u64 at, u32 op, u32 value, u64 timeout, u64 at2, u32 value3) {
    u32 command = op & FUTEX_COMMAND;
    bool private = op & FUTEX_PRIVATE, holds = false;
    struct word word, other;
    u64 until;
    i64 error = word_of(at, private, &word);

    if (error)
        return error;
    switch (command) {
    case FUTEX_WAKE:
        return wake(word, value, ALL);
    case FUTEX_WAKE_BITSET:
        return value3 ? wake(word, value, value3) : -EINVAL;
    case FUTEX_WAIT: case FUTEX_WAIT_BITSET:
        error = deadline(timeout, command == FUTEX_WAIT, op & FUTEX_CLOCK_REALTIME ? CLOCK_REALTIME : CLOCK_MONOTONIC, &until);
        return error ? error : wait(at, word, value, command == FUTEX_WAIT ? ALL : value3, until);
    case FUTEX_REQUEUE: case FUTEX_CMP_REQUEUE:
        error = word_of(at2, private, &other);
        return error ? error : requeue(at, word, value, (u32)timeout, other, command == FUTEX_REQUEUE ? NULL : &value3);
    case FUTEX_WAKE_OP:
        error = word_of(at2, private, &other);
        if (error || (error = change_word(at2, value3, &holds)))
            return error;
        i64 woken = wake(word, value, ALL);
        return holds ? woken + wake(other, (u32)timeout, ALL) : woken;
    default:
        return -ENOSYS;
    }
}

/* A lock whose owner died says so to the next one. */
static void owner_died(struct task *t, u64 at) {
    struct word word;
    u32 value;

    if (copy_in(&value, at, sizeof value) || (value & TID_MASK) != (u32)t->tid || word_of(at, false, &word))
        return;
    u32 now = (value & WAITERS) | OWNER_DIED;
    copy_out(at, &now, sizeof now);
    if (value & WAITERS)
        wake(word, 1, ALL);
}

struct robust { u64 first; i64 offset; u64 pending; };

void futexes_of_thread(struct task *t) {
    struct robust head;
    struct word word;
    u32 zero = 0;

    if (t->robust_list && !copy_in(&head, t->robust_list, sizeof head)) {
        u64 at = head.first;
        for (int i = 0; i < ROBUST_MAX && (at & ~1UL) != t->robust_list; i++) {
            if ((at & ~1UL) != head.pending)
                owner_died(t, (at & ~1UL) + (u64)head.offset);
            if (copy_in(&at, at & ~1UL, sizeof at))
                break;
        }
        if (head.pending)
            owner_died(t, head.pending + (u64)head.offset);
    }
    t->robust_list = 0;
    if (t->clear_tid && !copy_out(t->clear_tid, &zero, sizeof zero) && !word_of(t->clear_tid, false, &word)) {
        wake(word, 1, ALL);
    }
    t->clear_tid = 0;
}
