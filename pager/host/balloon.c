/* The memory balloon: what a container gives, what it takes back, and how much the host wishes of it.
 *
 *   num_pages rises ──► interrupt ──► inflateq: numbers of pages, which the host unbinds and marks as given
 *   num_pages falls ──► interrupt ──► deflateq: numbers of pages, which may be touched again, and are bound then
 *
 * A page that is given stays so until deflateq names it: the driver has accepted MUST_TELL_HOST, so one that is touched
 * before is the end of the container.  Nothing that the driver says of itself counts; the host keeps a bit for each page.
 *
 * The host wishes by option, balloon=MiB balloon_at=S balloon_until=S, or else when another container finds no
 * memory; then by itself it takes its wish back where memory is plenty again.
 * Source: VIRTIO 1.2, "Traditional Memory Balloon Device". */
#include "balloon.h"

#include "host.h"
#include "options.h"
#include "policy.h"

#define PAGES_OF_MIB 256UL
#define ASKED 1024UL            /* pages that another container is asked for at once */
#define PLENTY 2048UL           /* with so many pages free nobody need give any */
#define ENTRY sizeof(u32)

static u64 *bits[MAX_RUNNING];
static u64 bits_size;

static void reserve(u64 *from, u64 pages) {
    u64 at = ROUND_UP(*from, PAGE_SIZE);

    bits_size = ROUND_UP(pages / 8 + 1, PAGE_SIZE);
    for (int i = 0; i < MAX_RUNNING; i++, at += bits_size)
        bits[i] = host(at);
    *from = at;
}

void balloon_reset(struct balloon *b) { memset(b->is_given, 0, bits_size); }

static void reset(void) {
    struct balloon *b = balloon_of();

    *b = (struct balloon){.is_given = bits[self->slot]};
    balloon_reset(b);
}

static bool is_given(const struct balloon *b, u64 page) { return b->is_given[page / 64] >> page % 64 & 1; }

/* One page, or LARGE_PAGES from a multiple of theirs on. */
static void mark(struct balloon *b, u64 page, u64 count, bool given) {
    u64 *word = &b->is_given[page / 64];

    if (count == 1)
        *word = given ? *word | 1UL << page % 64 : *word & ~(1UL << page % 64);
    else
        memset(word, given ? 0xff : 0, count / 8);
    b->given += given ? count : -count;
}

static u32 order_of(const struct balloon *b) { return b->features & F_HUGE ? LARGE_ORDER : 0; }

static u64 checked(const struct balloon *b, u32 number, bool given) {
    u64 count = 1UL << order_of(b);

    if (number & (count - 1) || number + count > self->pages)
        kill_container("a page for its balloon that it has not", number);
    if (is_given(b, number) != given)
        kill_container(given ? "it takes a page that is not in its balloon" : "it gives a page that is in its balloon", number);
    return number;
}

void flush_end(struct flush *f) {
    if (f->count)
        vcpu_flush(f->blocks, f->count);
    f->count = 0;
}

void flush_add(struct flush *f, u64 gpa, u32 order) {
    f->blocks[f->count++] = gpa | order;
    if (f->count == BALLOON_BATCH)
        flush_end(f);
}

static void inflate(struct balloon *b, u32 number, struct flush *f) {
    if (number >= self->pages && OFF(queue)) {  /* a control: as if it were the host's own number */
        page_free(host((u64)number << PAGE_SHIFT));
        return;
    }
    u64 page = checked(b, number, false), gpa = page << PAGE_SHIFT;

    if (memory_unback(gpa, order_of(b)))
        kill_container("it gives a page that is in use", number);
    mark(b, page, 1UL << order_of(b), true);
    flush_add(f, gpa, order_of(b));
}

static void deflate(struct balloon *b, u32 number, struct flush *f) {
    (void)f;
    mark(b, checked(b, number, true), 1UL << order_of(b), false);
}

/* The numbers in a buffer, copied by as many as our own driver would send. */
static void each_number(struct balloon *b, const struct chain *c, void (*what)(struct balloon *, u32, struct flush *)) {
    static u32 numbers[BALLOON_BATCH];
    static struct flush flush;

    flush.count = 0;                    /* whoever had the last one may have been killed in the middle */
    for (u64 i = 0; i < c->count; i++) {
        struct virtq_desc d = c->piece[i];
        if (d.flags & DESC_WRITE || d.len % ENTRY)
            kill_container("a list of pages that is none", d.len);
        for (u64 part; d.len; d.addr += part, d.len -= (u32)part) {
            part = MIN(d.len, sizeof numbers);
            guest_bytes_read(numbers, d.addr, part);
            for (u64 n = 0; n < part / ENTRY; n++)
                what(b, numbers[n], &flush);
        }
    }
    flush_end(&flush);
}

void balloon_inflate(struct balloon *b, const struct chain *c) { each_number(b, c, inflate); }
void balloon_deflate(struct balloon *b, const struct chain *c) { each_number(b, c, deflate); }

/* ---- what the host wishes ---- */

static bool has_driver(const struct balloon *b) { return b->status & STATUS_DRIVER_OK; }

static void wish(struct balloon *b, u64 pages) {
    b->config.num_pages = (u32)MIN(pages, self->pages);
    if (has_driver(b))
        balloon_interrupt(b, VIRTIO_CHANGED);
}

static bool withholds(u64 page) {
    const struct balloon *b = balloon_of();

    return b->given && is_given(b, page);
}

static void tick(void) {
    struct balloon *b = balloon_of();

    b->seconds++;
    if (option_given("balloon")) {
        if (b->seconds == option("balloon_at", 1))
            wish(b, option("balloon", 0) * PAGES_OF_MIB);
        if (b->seconds == option("balloon_until", 0))
            wish(b, 0);
    } else if (b->config.num_pages && pages_unpromised() > PLENTY) {
        wish(b, b->config.num_pages - MIN(b->config.num_pages, pages_unpromised() / 2));
    }
}

/* Of those that have a driver: one that has nothing to do, and of these the one that holds most. */
static struct container *richest;

static bool is_idle(const struct container *c) { return c->state == WAITING; }

static void consider(void) {
    if (!has_driver(balloon_of()))
        return;
    if (!richest || is_idle(self) > is_idle(richest) ||
        (is_idle(self) == is_idle(richest) && self->memory.held > richest->memory.held))
        richest = self;
}

static void ask(void) {
    if (self == richest)
        wish(balloon_of(), balloon_of()->given + ASKED);
}

/* What is given comes by a hypercall of the other's, in its own turn. */
static void wish_of_others(void) {
    richest = NULL;
    each_other_container(consider);
    if (richest)
        each_other_container(ask);
}

/* All four have the device: a host that is reported to may wish for more, too. */
#define DEVICE .reserve = reserve, .reset = reset, .request = balloon_request, .period = 1, .tick = tick, .withholds = withholds, \
    .withheld = "it touched a page that is in its balloon", .wish = wish_of_others

const struct policy balloon_4k = {.name = "balloon", DEVICE}, balloon_2m = {.name = "balloon-huge", DEVICE};
const struct policy report_4k = {.name = "report-4k", DEVICE}, report_2m = {.name = "report-2m", DEVICE};
