// Threads, as programs use them: a queue with a mutex and condition variables, a barrier, TLS, errno of each thread, a
// read-write lock, once, keys with destructors, a timed wait, cancellation and detached threads.  The output is always the
// same.
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { WORKERS = 4, ITEMS = 2000, SLOTS = 8, ROUNDS = 50 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t filled = PTHREAD_COND_INITIALIZER, drained = PTHREAD_COND_INITIALIZER;
static int queue[SLOTS], head, count, closed;
static pthread_barrier_t barrier;
static pthread_rwlock_t shared = PTHREAD_RWLOCK_INITIALIZER;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_key_t key;
static sem_t detached_done;
static atomic_int once_calls, destroyed, serial_threads, errnos_right;
static long total, rounds[WORKERS];
static __thread int mine = 42;
static __thread char scratch[100];

static void check(int ok, const char *what) {
    if (!ok) {
        printf("FAILED: %s (%s)\n", what, strerror(errno));
        exit(1);
    }
}

static void on_destroy(void *value) { atomic_fetch_add(&destroyed, *(int *)value), free(value); }
static void make_key(void) { atomic_fetch_add(&once_calls, 1), pthread_key_create(&key, on_destroy); }
static void unlock(void *mutex) { pthread_mutex_unlock(mutex); }

static void *work(void *argument) {
    long id = (long)argument, sum = 0;
    check(mine == 42 && scratch[99] == 0, "fresh thread-local variables");
    mine = (int)id;
    pthread_once(&once, make_key);
    int *left = malloc(sizeof *left);
    *left = 1 << id;
    pthread_setspecific(key, left);
    for (;;) { // the queue
        pthread_mutex_lock(&lock);
        while (!count && !closed) pthread_cond_wait(&filled, &lock);
        if (!count) break;
        int item = queue[head];
        head = (head + 1) % SLOTS, count--;
        pthread_cond_signal(&drained);
        pthread_mutex_unlock(&lock);
        sum += item;
    }
    pthread_mutex_unlock(&lock);
    for (int round = 0; round < ROUNDS; round++) { // everybody writes, waits, reads what all the others wrote
        rounds[id] = round + id;
        if (pthread_barrier_wait(&barrier) == PTHREAD_BARRIER_SERIAL_THREAD) serial_threads++;
        long all = 0;
        for (int other = 0; other < WORKERS; other++) all += rounds[other];
        check(all == (long)WORKERS * round + WORKERS * (WORKERS - 1) / 2, "a barrier");
        errno = 0;
        id % 2 ? close(-1) : open("/no/such/file", O_RDONLY);
        pthread_barrier_wait(&barrier);
        errnos_right += errno == (id % 2 ? EBADF : ENOENT);
    }
    pthread_rwlock_wrlock(&shared);
    total += sum;
    pthread_rwlock_unlock(&shared);
    check(mine == id, "thread-local variables");
    return (void *)(id * id);
}

static void *forever(void *ready) {
    pthread_mutex_lock(&lock);
    pthread_cleanup_push(unlock, &lock);
    sem_post(ready);
    for (;;) pthread_cond_wait(&filled, &lock);
    pthread_cleanup_pop(1);
    return NULL;
}

static void *detached(void *path) { return (void)path, sem_post(&detached_done), NULL; }

int main(void) {
    pthread_t threads[WORKERS], waiter;
    setvbuf(stdout, NULL, _IOLBF, 0);
    sem_init(&detached_done, 0, 0);
    pthread_barrier_init(&barrier, NULL, WORKERS);
    for (long i = 0; i < WORKERS; i++) check(!pthread_create(&threads[i], NULL, work, (void *)i), "pthread_create");
    for (int i = 1; i <= ITEMS; i++) {
        pthread_mutex_lock(&lock);
        while (count == SLOTS) pthread_cond_wait(&drained, &lock);
        queue[(head + count++) % SLOTS] = i;
        pthread_cond_signal(&filled);
        pthread_mutex_unlock(&lock);
    }
    pthread_mutex_lock(&lock), closed = 1, pthread_cond_broadcast(&filled), pthread_mutex_unlock(&lock);
    long squares = 0;
    for (int i = 0; i < WORKERS; i++) {
        void *result;
        check(!pthread_join(threads[i], &result), "pthread_join");
        squares += (long)result;
    }
    pthread_rwlock_rdlock(&shared);
    printf("total %ld of %d\n", total, ITEMS * (ITEMS + 1) / 2);
    pthread_rwlock_unlock(&shared);
    printf("results %ld, once %d, destroyed %d, serial %d, errno %d\n", squares, once_calls, destroyed, serial_threads,
           errnos_right);
    printf("main has %d\n", mine);

    struct timespec soon;
    clock_gettime(CLOCK_REALTIME, &soon);
    soon.tv_nsec += 20000000, soon.tv_sec += soon.tv_nsec / 1000000000, soon.tv_nsec %= 1000000000;
    pthread_mutex_lock(&lock);
    int status;
    do status = pthread_cond_timedwait(&drained, &lock, &soon);
    while (!status);
    pthread_mutex_unlock(&lock);
    printf("timed wait: %s\n", status == ETIMEDOUT ? "timed out" : strerror(status));

    sem_t ready;
    void *result;
    sem_init(&ready, 0, 0);
    check(!pthread_create(&waiter, NULL, forever, &ready), "pthread_create");
    sem_wait(&ready);
    pthread_cancel(waiter), pthread_join(waiter, &result);
    check(!pthread_mutex_trylock(&lock), "the mutex of a cancelled thread");
    printf("cancelled: %s\n", result == PTHREAD_CANCELED ? "yes" : "no");

    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED), pthread_attr_setstacksize(&attributes, 1 << 17);
    for (int i = 0; i < 100; i++) { // stacks mapped and unmapped, one after the other
        check(!pthread_create(&waiter, &attributes, detached, NULL), "a detached thread");
        sem_wait(&detached_done);
    }
    puts("100 detached threads came and went");
    return 0;
}
