/* Small nodes of one size.  Their pages go back all at once, with the container. */
#include "host.h"
#include "shadow.h"

struct node { struct node *next; };

static bool grow(struct pool *p) {
    struct node *page = page_alloc();

    if (!page)
        return false;
    page->next = p->pages;
    p->pages = page;
    for (u64 at = p->size; at + p->size <= PAGE_SIZE; at += p->size)   /* the first node's room holds the list of pages */
        node_free(p, (u8 *)page + at);
    return true;
}

void *node_alloc(struct pool *p) {
    if (!p->free && !grow(p))
        return NULL;
    struct node *n = p->free;
    p->free = n->next;
    return memset(n, 0, p->size);
}

void node_free(struct pool *p, void *at) {
    struct node *n = at;

    n->next = p->free;
    p->free = n;
}

void pool_free(struct pool *p) {
    for (struct node *page = p->pages, *next; page; page = next) {
        next = page->next;
        page_free(page);
    }
    p->free = p->pages = NULL;
}
