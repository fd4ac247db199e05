/* System V's shared memory, semaphores and message queues. */
#include "linux.h"

#define SYS_shmget 29
#define SYS_shmat 30
#define SYS_shmctl 31
#define SYS_semget 64
#define SYS_semop 65
#define SYS_semctl 66
#define SYS_shmdt 67
#define SYS_msgget 68
#define SYS_msgsnd 69
#define SYS_msgrcv 70
#define SYS_msgctl 71
#define SYS_semtimedop 220
#define IPC_CREAT 01000
#define IPC_EXCL 02000
#define IPC_NOWAIT 04000
#define RMID 0
#define SET 1
#define STAT 2
#define RDONLY 010000
#define RND 020000
#define GETPID 11
#define GETVAL 12
#define GETALL 13
#define GETNCNT 14
#define GETZCNT 15
#define SETVAL 16
#define SETALL 17
#define UNDO 0x1000
#define NOERROR 010000
#define EXCEPT 020000

struct perm { i32 key; u32 uid, gid, made_uid, made_gid, mode, pad[6]; };
struct segment { struct perm perm; u64 size; i64 times[3]; i32 maker, last; u64 count, rest[2]; };
struct sembuf { u16 number; short change, flags; };
struct letter { i64 type; char text[32]; };

static i32 key;
static char buffer[PAGE];

static void show_segment(i64 id) {
    struct segment s;

    i64 result = syscall(SYS_shmctl, id, STAT, &s);
    if (result)
        print("%ld\n", result);
    else
        print("key %s mode %x size %lu count %lu, maker %s, %u:%u\n", s.perm.key == key ? "own" : s.perm.key ? "other" : "none", s.perm.mode,
              s.size, s.count, s.maker == (i32)syscall(SYS_getpid) ? "self" : "other",
              s.perm.uid, s.perm.gid);
}

static void memory(void) {
    struct segment s;

    print("-- memory\n");
    CALL(SYS_shmget, key, 100, 0);
    CALL(SYS_shmget, key, 0, IPC_CREAT | 0600);
    i64 id = syscall(SYS_shmget, key, 5000, IPC_CREAT | 0640);
    CHECK(id >= 0 && id == syscall(SYS_shmget, key, 5000, 0) && id == syscall(SYS_shmget, key, 0, 0));
    CALL(SYS_shmget, key, 5000, IPC_CREAT | IPC_EXCL | 0600);
    CALL(SYS_shmget, key, 5001, 0);
    show_segment(id);
    i64 at = syscall(SYS_shmat, id, NULL, 0), again = syscall(SYS_shmat, id, NULL, RDONLY);
    CHECK(at > 0 && again > 0 && at != again && !(at & 4095));
    memcpy((void *)at, "shared", 7);
    print("%s\n", (char *)again);
    print("%d %d\n", ((char *)at)[4999], ((char *)at)[8191]);
    show_segment(id);
    CALL(SYS_mprotect, again, PAGE, R_W);
    CALL(SYS_shmat, id, 1, 0);
    CHECK(syscall(SYS_shmat, id, at, 0) == -22);
    CHECK(syscall(SYS_shmat, id, (i64)buffer + 100000000, 0) != 0);
    i64 pid = fork();
    if (pid == 0) {
        print("%s\n", (char *)at);
        memcpy((void *)at, "changed", 8);
        show_segment(id);
        quit(0);
    }
    reap("child", pid);
    print("%s\n", (char *)again);
    CALL(SYS_shmdt, at + 4096);
    RESULT(syscall(SYS_shmdt, again));
    CALL(SYS_shmdt, again + 1);
    RESULT(syscall(SYS_shmdt, again));
    syscall(SYS_shmctl, id, STAT, &s);
    s.perm.mode = 0600, s.perm.uid = 12;
    CALL(SYS_shmctl, id, SET, &s);
    show_segment(id);
    CALL(SYS_shmctl, id, 99, &s);
    CALL(SYS_shmctl, id, STAT, 8);
    CALL(SYS_shmctl, 0x7fffffff, STAT, &s);
    if (fork() == 0) {
        syscall(SYS_setresuid, 1000, 1000, 1000);
        CHECK(syscall(SYS_shmat, id, NULL, 0) == -13);
        CHECK(syscall(SYS_shmget, key, 10, 0400) == -13);
        CALL(SYS_shmctl, id, STAT, &s);
        CALL(SYS_shmctl, id, RMID, NULL);
        quit(0);
    }
    reap("stranger", -1);
    CALL(SYS_shmctl, id, RMID, NULL);
    CALL(SYS_shmget, key, 10, 0);
    show_segment(id);                                   /* it stays while it is attached */
    print("%s\n", (char *)at);
    syscall(SYS_munmap, at, PAGE);
    show_segment(id);
    CHECK(((char *)at)[4097] == 0);
    syscall(SYS_munmap, at + (i64)PAGE, PAGE);
    show_segment(id);
    id = syscall(SYS_shmget, 0, 100, 0600);
    i64 second = syscall(SYS_shmget, 0, 100, 0600);
    CHECK(second != id);
    CALL(SYS_shmctl, second, RMID, NULL);
    CALL(SYS_shmctl, id, RMID, NULL);
    CHECK(syscall(SYS_shmat, id, NULL, 0) == -22);
}

static void values(i64 id) {
    u16 v[3] = {99, 99, 99};

    syscall(SYS_semctl, id, 0, GETALL, v);
    print("%d %d %d\n", v[0], v[1], v[2]);
}

static void semaphores(void) {
    u16 all[3] = {1, 2, 40000};
    struct sembuf ops[3] = {{0, 1, 0}, {1, -1, 0}, {2, 0, 0}};
    struct timespec soon = {0, 5000000};

    print("-- semaphores\n");
    CALL(SYS_semget, key, 0, IPC_CREAT | 0600);
    CALL(SYS_semget, key, -1, IPC_CREAT | 0600);
    i64 id = syscall(SYS_semget, key, 3, IPC_CREAT | 0600);
    CHECK(id == syscall(SYS_semget, key, 0, 0));
    CALL(SYS_semget, key, 4, 0);
    values(id);
    CALL(SYS_semctl, id, 0, SETALL, all);
    all[2] = 0;
    CALL(SYS_semctl, id, 0, SETALL, all);
    CALL(SYS_semctl, id, 1, GETVAL);
    CALL(SYS_semctl, id, 3, GETVAL);
    CALL(SYS_semctl, id, 1, SETVAL, -1);
    CALL(SYS_semctl, id, 0, 99);
    CALL(SYS_semctl, 0x7fffffff, 0, GETVAL);
    CALL(SYS_semop, id, ops, 3);
    values(id);
    CHECK(syscall(SYS_semctl, id, 1, GETPID) == syscall(SYS_getpid));
    ops[2] = (struct sembuf){1, -5, IPC_NOWAIT};
    CALL(SYS_semop, id, ops, 3);                        /* none is done */
    values(id);
    ops[2].flags = 0;
    CALL(SYS_semtimedop, id, ops, 3, &soon);
    values(id);
    CALL(SYS_semop, id, ops, 0);
    CALL(SYS_semop, id, ops, 1000);
    CALL(SYS_semop, id, 8, 1);
    CALL(SYS_semop, 0x7fffffff, ops, 1);
    ops[0] = (struct sembuf){9, 1, 0};
    CALL(SYS_semop, id, ops, 1);
    ops[0] = (struct sembuf){0, 32767, 0};
    CALL(SYS_semop, id, ops, 1);
    if (fork() == 0) {                                  /* what a process takes back when it ends */
        struct sembuf undo[2] = {{0, 5, UNDO}, {2, 3, 0}};
        CALL(SYS_semop, id, undo, 2);
        values(id);
        quit(0);
    }
    reap("child", -1);
    values(id);
    if (fork() == 0) {
        struct sembuf wait = {1, -4, 0};
        quit((i32)-syscall(SYS_semop, id, &wait, 1));        /* printed by the parent */
    }
    while (syscall(SYS_semctl, id, 1, GETNCNT) != 1)
        nap(1);
    CALL(SYS_semctl, id, 1, GETZCNT);
    CALL(SYS_semctl, id, 1, SETVAL, 4);
    reap("waiting", -1);
    values(id);
    if (fork() == 0) {
        struct sembuf wait = {2, 0, 0};
        quit((i32)-syscall(SYS_semop, id, &wait, 1));        /* printed by the parent */
    }
    while (syscall(SYS_semctl, id, 2, GETZCNT) != 1)
        nap(1);
    CALL(SYS_semctl, id, 0, RMID);
    reap("orphaned", -1);
    CALL(SYS_semctl, id, 0, GETVAL);
}

static void receives(i64 id, u64 size, i64 type, i64 flags) {
    struct letter l = {0, {0}};

    i64 n = syscall(SYS_msgrcv, id, &l, size, type, flags | IPC_NOWAIT);
    print("%ld: type %ld %s\n", n, l.type, n > 0 ? text(l.text, n) : "");
}

static void queues(void) {
    struct { struct perm perm; i64 times[3]; u64 bytes, count, room; i32 pids[2]; u64 rest[2]; } q;
    struct letter l = {1, "one"};

    print("-- queues\n");
    CALL(SYS_msgget, key, 0);
    i64 id = syscall(SYS_msgget, key, IPC_CREAT | 0600);
    CHECK(id == syscall(SYS_msgget, key, 0));
    CALL(SYS_msgsnd, id, &l, 3, 0);
    l = (struct letter){5, "five"};
    CALL(SYS_msgsnd, id, &l, 4, 0);
    l = (struct letter){3, "three"};
    CALL(SYS_msgsnd, id, &l, 5, 0);
    l = (struct letter){1, "again"};
    CALL(SYS_msgsnd, id, &l, 5, 0);
    l.type = 0;
    CALL(SYS_msgsnd, id, &l, 5, 0);
    l.type = 1;
    CALL(SYS_msgsnd, id, &l, 9000, 0);
    CALL(SYS_msgsnd, id, 8, 5, 0);
    CALL(SYS_msgsnd, 0x7fffffff, &l, 5, 0);
    syscall(SYS_msgctl, id, STAT, &q);
    print("%lu bytes, %lu letters, mode %x, room %s\n", q.bytes, q.count, q.perm.mode, q.room >= 16384 ? "some" : "little");
    receives(id, 2, 0, 0);
    receives(id, 32, 5, 0);
    receives(id, 2, -3, NOERROR);
    receives(id, 32, -2, 0);
    receives(id, 32, 3, EXCEPT);
    receives(id, 32, -9, 0);
    receives(id, 32, 0, 0);
    CALL(SYS_msgrcv, id, &l, -1, 0, 0);
    if (fork() == 0) {
        CALL(SYS_msgrcv, id, &l, 32, 7, 0);
        print("%s\n", text(l.text, 4));
        CALL(SYS_msgrcv, id, &l, 32, 8, 0);
        quit(0);
    }
    nap(5);
    l = (struct letter){7, "late"};
    syscall(SYS_msgsnd, id, &l, 4, 0);
    nap(5);
    syscall(SYS_msgctl, id, RMID, NULL);
    reap("receiver", -1);
    CALL(SYS_msgctl, id, STAT, &q);
}

int main(int argc, char **argv) {
    (void)argc, (void)argv;
    apart();
    key = 0x70000000 + (i32)syscall(SYS_getpid);
    memory();
    semaphores();
    queues();
    return 42;
}
