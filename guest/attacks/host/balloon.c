/* A container kernel and the memory balloon: requests in order (tests/guest/test_balloon_host.py), requests that no device may
 * do, and attacks by way of pages that were given. */
#include "hostile.h"
#include "virtio.h"

#define SECRETS 0x5ec2e7c0ffeeUL
#define MANY 256UL
#define SIZE 64
#define HUGE (512 * PAGE_SIZE)

/* One page for each queue: descriptors, available ring, used ring, a buffer. */
#define AVAILABLE_AT 1024UL
#define USED_AT 2048UL
#define BUFFER_AT 3072UL

static u64 base(u64 queue) { return ROUND_UP(boot->free_start, PAGE_SIZE) + queue * PAGE_SIZE; }
static u64 page(u64 n) { return base(QUEUES + 1) + n * PAGE_SIZE; }
static volatile u64 *word_of(u64 gpa) { return (volatile u64 *)(GK_DIRECT + gpa); }
static volatile struct virtq_desc *descriptor(u64 queue, u64 i) { return (volatile struct virtq_desc *)word_of(base(queue)) + i; }
static volatile struct virtq_avail *available(u64 queue) { return (volatile struct virtq_avail *)word_of(base(queue) + AVAILABLE_AT); }
static volatile struct virtq_used *used(u64 queue) { return (volatile struct virtq_used *)word_of(base(queue) + USED_AT); }
static volatile u32 *buffer(u64 queue) { return (volatile u32 *)word_of(base(queue) + BUFFER_AT); }

static i64 ask(u64 function, u64 a, u64 b) { return hypercall(HC_MEMORY, function, a, b, 0); }

static i64 queue_at(u64 queue, u64 descriptors, u64 available, u64 used) {
    ask(VIRTIO_QUEUE_SIZE, queue, SIZE);
    ask(VIRTIO_QUEUE_DESCRIPTORS, queue, descriptors);
    ask(VIRTIO_QUEUE_AVAILABLE, queue, available);
    ask(VIRTIO_QUEUE_USED, queue, used);
    return ask(VIRTIO_QUEUE_READY, queue, 0);
}

static i64 queue(u64 number) { return queue_at(number, base(number), base(number) + AVAILABLE_AT, base(number) + USED_AT); }

static void negotiate(void) {
    ask(VIRTIO_SET_STATUS, 0, 0);
    ask(VIRTIO_SET_STATUS, STATUS_ACKNOWLEDGE, 0);
    ask(VIRTIO_SET_STATUS, STATUS_ACKNOWLEDGE | STATUS_DRIVER, 0);
    ask(VIRTIO_ACCEPT, (u64)ask(VIRTIO_OFFERED, 0, 0), 0);
    ask(VIRTIO_SET_STATUS, STATUS_ACKNOWLEDGE | STATUS_DRIVER | STATUS_FEATURES_OK, 0);
}

static i64 drive(void) { return ask(VIRTIO_SET_STATUS, STATUS_ACKNOWLEDGE | STATUS_DRIVER | STATUS_FEATURES_OK | STATUS_DRIVER_OK, 0); }

static void begin(void) {
    negotiate();
    queue(INFLATEQ);
    queue(DEFLATEQ);
    if (ask(VIRTIO_QUEUE_MOST, REPORTING_VQ, 0))
        queue(REPORTING_VQ);
    drive();
}

static void piece(u64 queue, u64 i, u64 gpa, u64 size, u64 flags, u64 next) {
    volatile struct virtq_desc *d = descriptor(queue, i);

    d->addr = gpa, d->len = (u32)size, d->flags = (u16)flags, d->next = (u16)next;
}

/* One buffer, or the same several times. */
static i64 send(u64 queue, u64 times) {
    for (; times; times--)
        available(queue)->ring[available(queue)->idx++ % SIZE] = 0;
    return ask(VIRTIO_NOTIFY, queue, 0);
}

/* The numbers of so many pages from the first one on. */
static i64 pages(u64 queue, u64 first, u64 count) {
    for (u64 i = 0; i < count; i++)
        buffer(queue)[i] = (u32)(first / PAGE_SIZE + i);
    piece(queue, 0, base(queue) + BUFFER_AT, count * sizeof(u32), 0, 0);
    return send(queue, 1);
}

static i64 give(u64 first, u64 count) { return pages(INFLATEQ, first, count); }
static i64 take(u64 first, u64 count) { return pages(DEFLATEQ, first, count); }

static i64 report(u64 gpa, u64 size) {
    piece(REPORTING_VQ, 0, gpa, size, DESC_WRITE, 0);
    return send(REPORTING_VQ, 1);
}

void balloon_requests(void) {
    tell("offered", ask(VIRTIO_OFFERED, 0, 0));
    tell("device", ask(VIRTIO_ID, 0, 0));
    negotiate();
    tell("status", ask(VIRTIO_STATUS, 0, 0));
    tell("statsq", ask(VIRTIO_QUEUE_MOST, STATSQ, 0));
    tell("inflateq", ask(VIRTIO_QUEUE_MOST, INFLATEQ, 0));
    tell("not ready", ask(VIRTIO_NOTIFY, INFLATEQ, 0));
    begin();
    tell("driven", ask(VIRTIO_STATUS, 0, 0));
    *word_of(page(0)) = 7;
    tell("given", give(page(0), 2));    /* the second one was never touched */
    tell("used", used(INFLATEQ)->idx);
    tell("taken", take(page(0), 2));
    tell("holds", (i64)*word_of(page(0)));
    tell("none", ask(VIRTIO_NOTIFY, INFLATEQ, 0));
    tell("used still", used(INFLATEQ)->idx);
    ask(VIRTIO_WRITE, 4, 3);
    tell("actual", ask(VIRTIO_READ, 4, 0));
    tell("num_pages is the host's", ask(VIRTIO_WRITE, 0, 3));
    tell("no such field", ask(VIRTIO_READ, 8, 0));
    tell("no such function", ask(VIRTIO_INTERRUPT + 1, 0, 0));
    for (u64 i = 0; i < SIZE; i++)
        available(INFLATEQ)->ring[i] = 0;
    piece(INFLATEQ, 0, base(INFLATEQ) + BUFFER_AT, 0, 0, 0);
    tell("a whole ring", send(INFLATEQ, SIZE));
    tell("used all", used(INFLATEQ)->idx);
    give(page(0), 1);
    ask(VIRTIO_SET_STATUS, 0, 0);       /* with a page in the balloon, which comes back */
    tell("after a reset", (i64)*word_of(page(0)));
    end(0);
}

/* Features that no driver can have, or that one must: FEATURES_OK does not stay. */
void balloon_features(void) {
    static const u64 wrong[] = {0, F_VERSION_1, F_MUST_TELL_HOST, F_VERSION_1 | F_MUST_TELL_HOST | 1UL << 1, F_VERSION_1 | F_MUST_TELL_HOST | 1UL << 40};

    for (u64 i = 0; i < COUNT(wrong); i++) {
        ask(VIRTIO_SET_STATUS, 0, 0);
        ask(VIRTIO_SET_STATUS, 3, 0);
        ask(VIRTIO_ACCEPT, wrong[i], 0);
        ask(VIRTIO_SET_STATUS, 3 | STATUS_FEATURES_OK, 0);
        tell("status", ask(VIRTIO_STATUS, 0, 0));
        tell("driven all the same", drive());
    }
    negotiate();
    tell("no queue of three", (ask(VIRTIO_QUEUE_SIZE, INFLATEQ, 3), ask(VIRTIO_QUEUE_READY, INFLATEQ, 0)));
    tell("crooked", queue_at(INFLATEQ, base(0) + 8, base(0) + AVAILABLE_AT, base(0) + USED_AT));
    tell("behind its memory", queue_at(INFLATEQ, boot->memory, base(0) + AVAILABLE_AT, base(0) + USED_AT));
    tell("across its end", queue_at(INFLATEQ, boot->memory - 16, base(0) + AVAILABLE_AT, base(0) + USED_AT));
    tell("far away", queue_at(INFLATEQ, ~15UL, base(0) + AVAILABLE_AT, base(0) + USED_AT));
    tell("its own", queue(INFLATEQ));
    tell("moved later", ask(VIRTIO_QUEUE_USED, INFLATEQ, base(1)));
    end(0);
}

void balloon_reports(void) {
    begin();
    *word_of(page(0)) = *word_of(page(1)) = *word_of(page(2)) = 7;
    piece(REPORTING_VQ, 0, page(0), PAGE_SIZE, DESC_WRITE | DESC_NEXT, 1);
    piece(REPORTING_VQ, 1, page(2), 4 * PAGE_SIZE, DESC_WRITE, 0);
    tell("told", send(REPORTING_VQ, 1));
    tell("holds", (i64)*word_of(page(0)));
    tell("not told of", (i64)*word_of(page(1)));
    tell("holds", (i64)*word_of(page(2)));
    end(0);
}

/* ---- requests that end their container ---- */

static void bad(void (*request)(void)) {
    begin();
    request();
    tell("it was done", 0);
    end(0);
}

static void behind(void) { give(boot->memory, 1); }
static void far(void) {
    buffer(INFLATEQ)[0] = ~0u;
    piece(INFLATEQ, 0, base(INFLATEQ) + BUFFER_AT, sizeof(u32), 0, 0);
    send(INFLATEQ, 1);
}
static void twice(void) { give(page(0), 1), give(page(0), 1); }
static void not_in(void) { take(page(0), 1); }
static void image(void) { give(GK_LOAD, 1); }
static void module(void) { give(boot->rootfs, 1); }
static void its_queue(void) { give(base(DEFLATEQ), 1); }
static void touched(void) { give(page(0), 1), *word_of(page(0)) = 1; }
static void shown(void) { give(page(0), 1), user_page(space_in_use(), USER, page(0), DATA); }
static void in_use(void) {
    user_page(space_in_use(), USER, page(0), DATA);
    give(page(0), 1);
}
static void odd(void) {
    piece(INFLATEQ, 0, base(INFLATEQ) + BUFFER_AT, 3, 0, 0);
    send(INFLATEQ, 1);
}
static void written(void) {
    piece(INFLATEQ, 0, base(INFLATEQ) + BUFFER_AT, 4, DESC_WRITE, 0);
    send(INFLATEQ, 1);
}
static void order(void) {
    piece(INFLATEQ, 0, base(INFLATEQ) + BUFFER_AT, 0, DESC_WRITE | DESC_NEXT, 1);
    piece(INFLATEQ, 1, base(INFLATEQ) + BUFFER_AT, 0, 0, 0);
    send(INFLATEQ, 1);
}
static void loop(void) {
    piece(INFLATEQ, 0, base(INFLATEQ) + BUFFER_AT, 0, DESC_NEXT, 1);
    piece(INFLATEQ, 1, base(INFLATEQ) + BUFFER_AT, 0, DESC_NEXT, 0);
    send(INFLATEQ, 1);
}
static void indirect(void) {
    piece(INFLATEQ, 0, base(INFLATEQ) + BUFFER_AT, 16, DESC_INDIRECT, 0);
    send(INFLATEQ, 1);
}
static void next(void) {
    piece(INFLATEQ, 0, base(INFLATEQ) + BUFFER_AT, 0, DESC_NEXT, SIZE);
    send(INFLATEQ, 1);
}
static void head(void) {
    available(INFLATEQ)->ring[0] = SIZE;
    available(INFLATEQ)->idx = 1;
    ask(VIRTIO_NOTIFY, INFLATEQ, 0);
}
static void wild(void) {
    available(INFLATEQ)->idx = SIZE + 1;
    ask(VIRTIO_NOTIFY, INFLATEQ, 0);
}
static void backwards(void) {
    give(page(0), 1);
    available(INFLATEQ)->idx = 0;
    ask(VIRTIO_NOTIFY, INFLATEQ, 0);
}
static void outside(void) {
    piece(INFLATEQ, 0, boot->memory - 4, 8, 0, 0);
    send(INFLATEQ, 1);
}
static void wraps(void) {
    piece(INFLATEQ, 0, ~3UL, 8, 0, 0);
    send(INFLATEQ, 1);
}
/* More numbers than the host copies at once; the first part gives the page that the second one is in. */
static void itself(void) {
    volatile u32 *list = (volatile u32 *)word_of(page(600) + 3072);
    for (u64 i = 0; i < 512; i++)
        list[i] = (u32)(page(i) / PAGE_SIZE);
    list[255] = (u32)(page(601) / PAGE_SIZE);
    piece(INFLATEQ, 0, page(600) + 3072, 512 * sizeof(u32), 0, 0);
    send(INFLATEQ, 1);
}
static void crooked_report(void) { report(page(0) + 8, PAGE_SIZE); }
static void read_report(void) {
    piece(REPORTING_VQ, 0, page(0), PAGE_SIZE, 0, 0);
    send(REPORTING_VQ, 1);
}
static void queue_report(void) { report(base(REPORTING_VQ), PAGE_SIZE); }
static void far_report(void) { report(boot->memory, PAGE_SIZE); }
static void mapped_report(void) {
    user_page(space_in_use(), USER, page(0), DATA);
    report(page(0), PAGE_SIZE);
}
static void crooked_huge(void) { give(ROUND_UP(page(0), HUGE) + PAGE_SIZE, 1); }
static void cut_huge(void) { give(boot->memory & ~(HUGE - 1), 1); }
static void busy_huge(void) { give(boot->rootfs & ~(HUGE - 1), 1); }

#define BAD(name) void balloon_##name(void) { bad(name); }
BAD(behind) BAD(far) BAD(twice) BAD(not_in) BAD(image) BAD(module) BAD(its_queue) BAD(touched) BAD(shown) BAD(in_use) BAD(odd)
BAD(written) BAD(order) BAD(loop) BAD(indirect) BAD(next) BAD(head) BAD(wild) BAD(backwards) BAD(outside) BAD(wraps) BAD(itself)
BAD(crooked_report) BAD(read_report) BAD(queue_report) BAD(far_report) BAD(mapped_report) BAD(crooked_huge) BAD(cut_huge) BAD(busy_huge)

/* The used ring over the descriptors: what the device writes changes the buffer that it reads next. */
void balloon_changing(void) {
    negotiate();
    tell("queue", queue_at(INFLATEQ, base(0), base(0) + AVAILABLE_AT, base(0)));
    queue(DEFLATEQ);
    drive();
    buffer(INFLATEQ)[0] = (u32)(page(0) / PAGE_SIZE);
    piece(INFLATEQ, 0, base(INFLATEQ) + BUFFER_AT, sizeof(u32), 0, 0);
    tell("twice the same", send(INFLATEQ, 2));
    tell("becomes nothing", descriptor(INFLATEQ, 0)->len);
    end(0);
}

/* ---- attacks ---- */

/* A page that was given, by what the TLB knows of it. */
void balloon_stale(void) {
    begin();
    word_of(page(0))[1] = SECRETS << 16 | 3;    /* the first word of a free page is the host's */
    give(page(0), 1);
    look(word_of(page(0))[1]);
}

void balloon_stale_report(void) {
    begin();
    word_of(page(0))[1] = SECRETS << 16 | 3;
    report(page(0), PAGE_SIZE);
    look(word_of(page(0))[1]);
}

/* Pages that container user still maps, given, and looked at once somebody else has them. */
void balloon_mapped(void) {
    u64 space = space_in_use();

    begin();
    for (u64 i = 0; i < MANY; i++)
        user_page(space, USER + i * PAGE_SIZE, page(i), DATA);
    give(page(0), MANY);
    for (int round = 0; round < 20; round++) {
        nap(1);
        for (u64 i = 0; i < MANY * PAGE_SIZE / sizeof(u64); i++)
            look(((volatile u64 *)USER)[i]);
    }
}

/* What the one before has left in pages that come back from the balloon. */
void balloon_leftovers(void) {
    begin();
    for (u64 n = 0; page(n + MANY) <= boot->memory; n += MANY) {
        give(page(n), MANY);
        take(page(n), MANY);
        for (u64 i = 0; i < MANY * PAGE_SIZE / sizeof(u64); i += 8)
            look(word_of(page(n))[i]);
    }
}

/* Pages behind the end of its memory, by their numbers: the host has others there. */
void balloon_others(void) {
    begin();
    for (u64 at = boot->memory; at < 2 * boot->memory; at += PAGE_SIZE)
        give(at, 1);
}

/* A used ring at each address where the host has memory, for the device to write into. */
void balloon_ring(void) {
    for (u64 at = page(0); at < 2 * boot->memory; at += PAGE_SIZE) {
        negotiate();
        available(INFLATEQ)->idx = 0;
        queue_at(INFLATEQ, base(0), base(0) + AVAILABLE_AT, at);
        drive();
        piece(INFLATEQ, 0, base(INFLATEQ) + BUFFER_AT, 0, 0, 0);
        send(INFLATEQ, SIZE);
    }
}
