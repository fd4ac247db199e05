/* Pager in the host: bind and unbind what a container kernel asks for.  A request is copied before it is looked at, so
 * that it cannot change after its check; one that asks for what is not so ends its container.
 */
#include "bind.h"

#include "pager.h"
#include "host.h"
#include "policy.h"

struct block { u64 gpa, pages; };

/* Aligned, within the container's memory. */
static struct block block_of(u64 word) {
    struct block b = {word & ~PAGE_MASK, 1UL << (word & PAGER_ORDER)};

    if (word & PAGE_MASK & ~PAGER_ORDER || (word & PAGER_ORDER) > PAGER_MOST_ORDER || b.gpa & ((b.pages << PAGE_SHIFT) - 1) ||
        (b.gpa >> PAGE_SHIFT) + b.pages > self->pages)
        kill_container("a block of memory that it has not", word);
    return b;
}

static void unbind(u64 word) {
    struct block b = block_of(word);

    for (u64 i = 0; i < b.pages; i++) {
        int result = binding_put(b.gpa + (i << PAGE_SHIFT));
        if (result)
            kill_container(result == -EBUSY ? "it gives back a page that is in use" : "it gives back a page that is not bound", word);
    }
}

/* All of a block or nothing. */
static bool bind(u64 word) {
    struct block b = block_of(word);
    u64 done = 0;

    for (u64 i = 0; i < b.pages; i++)
        if (self->bound[(b.gpa >> PAGE_SHIFT) + i])
            kill_container("it binds a page that is bound", word);
    while (done < b.pages && binding_add(b.gpa + (done << PAGE_SHIFT)))
        done++;
    if (done == b.pages)
        return true;
    while (done--)
        binding_put(b.gpa + (done << PAGE_SHIFT));
    return false;
}

i64 pager_request(u64 at, u64 counts) {
    static u64 words[PAGER_WORDS];
    u64 unbinds = counts >> 32, binds = (u32)counts, hpa, done = 0;

    if (!policy_allows_pager())
        return -ENOSYS;
    if (binds && pages_are_short())
        policy_wait(PAGER_TURNS);
    if (at & PAGE_MASK || !(hpa = binding_get(at)))
        kill_container("a list of pages that is not its own", at);
    if (unbinds + binds > PAGER_WORDS)
        kill_container("a list of pages that is too long", counts);
    if (!self->ahead) {
        self->ahead = true;     /* first: what is filled ahead binds nothing */
        vcpu_ahead();
    }
    memcpy(words, host(hpa), (unbinds + binds) * sizeof *words);
    for (u64 i = 0; i < unbinds; i++)
        unbind(words[i]);
    if (unbinds)
        vcpu_flush(words, unbinds);
    while (done < binds && bind(words[unbinds + done]))
        done++;
    vcpu_bound(words + unbinds, done);
    return (i64)done;
}
