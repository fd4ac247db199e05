/* The reverse map: which shadow leaves map a page, so that a table of the guest's can be protected wherever it is mapped,
 * and given back when it is a table no more. */
#include "host.h"
#include "shadow.h"

bool map_leaf(struct shadows *s, pte_t *entry, pte_t now) {
    struct frame *f = frame_of(now & PTE_ADDRESS);
    struct link *link = node_alloc(&s->links);

    if (!link)
        return false;
    if (f->tables && !f->unsynced && !OFF(protect))
        now &= ~PTE_W;
    *link = (struct link){entry, f->mappings};
    f->mappings = link;
    *entry = now;
    return true;
}

void unmap_leaf(struct shadows *s, pte_t *entry) {
    for (struct link **at = &frame_of(*entry & PTE_ADDRESS)->mappings, *link; (link = *at); at = &link->next)
        if (link->entry == entry) {
            *at = link->next;
            node_free(&s->links, link);
            break;
        }
    s->stale = true;
    *entry = 0;
}

void frame_protect(struct shadows *s, struct frame *f) {
    for (struct link *link = f->mappings; link && !OFF(protect); link = link->next)
        if (*link->entry & PTE_W && (!OFF(alias) || !link->next)) {
            *link->entry &= ~PTE_W;
            s->flush = !OFF(flush);
        }
    s->flush |= s->stale && !OFF(flush);       /* an entry that is gone may be in the TLB still */
}

void frame_release(struct frame *f) {
    for (struct link *link = f->mappings; link; link = link->next)
        if (*link->entry & SPTE_WRITABLE)
            *link->entry |= PTE_W;
}

void shadow_unmap(struct shadows *s, u64 hpa) {
    struct frame *f = frame_of(hpa);

    unshadow(s, f);
    while (f->mappings)
        unmap_leaf(s, f->mappings->entry);
}
