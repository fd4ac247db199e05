/* Shadow tables: made, linked, dropped.  One that no entry leads to any more, and that is no root, goes at once. */
#include "shadow.h"

#include "host.h"

void shadows_begin(struct shadows *s, bool eager) {
    *s = (struct shadows){.links = {.size = sizeof(struct link)}, .tables = {.size = sizeof(struct shadow)}, .eager = eager};
}

static struct frame *guest_frame(const struct shadow *sh) { return frame_of(binding_get(sh->gpa)); }

static struct shadow *make(struct shadows *s, const struct shadow *like) {
    struct shadow *sh = node_alloc(&s->tables);
    pte_t *table = sh ? page_alloc() : NULL;

    if (!table) {
        if (sh)
            node_free(&s->tables, sh);
        return NULL;
    }
    *sh = *like;
    sh->table = table;
    *frame_of(host_physical(table)) = (struct frame){.tables = sh};
    s->count++;
    if (!sh->direct) {
        struct frame *f = guest_frame(sh);
        bool first = !f->tables;
        if (sh->level > 1 && f->unsynced)
            shadows_sync(s);    /* what is more than a leaf table stays protected */
        sh->next = f->tables;
        f->tables = sh;
        if (first)
            frame_protect(s, f);
        const pte_t *guest = host(binding_get(sh->gpa));
        for (u64 i = 0; s->eager && i < shadow_entries(sh); i++)
            shadow_link_entry(s, sh, i, guest[i]);
        if (s->ahead)
            table_ahead(s, sh);
    }
    return sh;
}

struct shadow *shadow_child(pte_t entry) { return frame_of(entry & PTE_ADDRESS)->tables; }

static void forget(struct shadows *s, struct shadow *sh) {
    struct frame *f = guest_frame(sh);

    for (struct shadow **at = &f->tables; *at; at = &(*at)->next)
        if (*at == sh) {
            *at = sh->next;
            break;
        }
    if (f->tables)
        return;
    if (f->unsynced) {
        for (struct frame **at = &s->unsynced; *at; at = &(*at)->next_unsynced)
            if (*at == f) {
                *at = f->next_unsynced;
                break;
            }
        f->unsynced = false;
    }
    frame_release(f);
}

u64 shadow_entries(const struct shadow *sh) { return sh->root ? HOST_SLOT : TABLE_ENTRIES; }

static void empty(struct shadows *s, struct shadow *sh) {
    for (u64 i = 0; i < shadow_entries(sh); i++)
        if (sh->table[i] & PTE_P)
            shadow_zap(s, sh, i);
}

static void destroy(struct shadows *s, struct shadow *sh) {
    empty(s, sh);
    if (!sh->direct)
        forget(s, sh);
    frame_of(host_physical(sh->table))->tables = NULL;
    page_free(sh->table);
    node_free(&s->tables, sh);
    s->count--;
    s->flush = true;            /* the processor may have the table's address */
}

static void unlink(struct shadows *s, pte_t *entry) {
    struct shadow *child = shadow_child(*entry);

    for (struct link **at = &child->parents, *link; (link = *at); at = &link->next)
        if (link->entry == entry) {
            *at = link->next;
            node_free(&s->links, link);
            break;
        }
    *entry = 0;
    s->stale = true;
    if (!child->parents && !child->root)
        destroy(s, child);
}

void shadow_zap(struct shadows *s, struct shadow *sh, u64 index) {
    if (!(sh->table[index] & PTE_P))
        return;
    if (sh->level == 1)
        unmap_leaf(s, &sh->table[index]);
    else
        unlink(s, &sh->table[index]);
}

struct shadow *shadow_of(struct shadows *s, const struct shadow *parent, u64 gpa, bool user) {
    u8 level = parent->level - 1;

    for (struct shadow *sh = frame_of(binding_get(gpa))->tables; sh; sh = sh->next)
        if (sh->level == level && sh->kind == parent->kind && sh->user == user && !sh->root)
            return sh;
    return make(s, &(struct shadow){.gpa = gpa, .level = level, .kind = parent->kind, .user = user});
}

struct shadow *shadow_direct(struct shadows *s, const struct shadow *parent) {
    return make(s, &(struct shadow){.level = parent->level - 1, .kind = parent->kind, .direct = true});
}

/* A child that is nobody's may have been made for this. */
bool shadow_link(struct shadows *s, pte_t *entry, struct shadow *child, pte_t rights) {
    struct link *link = node_alloc(&s->links);

    if (!link) {
        if (!child->parents)
            destroy(s, child);
        return false;
    }
    *link = (struct link){entry, child->parents};
    child->parents = link;
    *entry = host_physical(child->table) | PTE_P | PTE_U | PTE_A | rights;
    return true;
}

static struct shadow *make_root(struct shadows *s, u64 cr3, u8 kind) {
    struct shadow *sh = make(s, &(struct shadow){.gpa = cr3, .level = TABLE_LEVELS, .kind = kind, .user = true, .root = true,
                                               .direct = cr3 == NO_TABLES});

    if (sh)
        host_half(sh->table);
    return sh;
}

static void space_forget(struct shadows *s, struct space *space) {
    for (int kind = FIRST_KIND; kind <= LAST_KIND; kind++)
        if (space->root[kind])
            destroy(s, space->root[kind]);
    if (s->current == space)
        s->current = NULL;
    *space = (struct space){0};
}

static struct space *space_of(struct shadows *s, u64 cr3) {
    struct space *oldest = s->spaces == s->current ? s->spaces + 1 : s->spaces;

    for (struct space *space = s->spaces; space < s->spaces + SPACES; space++) {
        if (space->root[FIRST_KIND] && space->cr3 == cr3) {
            space->used = ++s->clock;
            return space;
        }
        if (space != s->current && space->used < oldest->used)
            oldest = space;
    }
    if (cr3 != NO_TABLES && !binding_get(cr3))
        return NULL;
    space_forget(s, oldest);
    *oldest = (struct space){.cr3 = cr3, .used = ++s->clock};
    for (u8 kind = FIRST_KIND; kind <= LAST_KIND; kind++)
        if (!(oldest->root[kind] = make_root(s, cr3, kind))) {
            space_forget(s, oldest);
            return NULL;
        }
    return oldest;
}

void shadows_drop(struct shadows *s) {
    s->ahead = 0;               /* what is wanted now comes first */
    for (struct space *space = s->spaces; space < s->spaces + SPACES; space++)
        if (space != s->current)
            space_forget(s, space);
        else
            for (int kind = FIRST_KIND; kind <= LAST_KIND; kind++)
                empty(s, space->root[kind]);
}

bool space_enter(struct shadows *s, u64 cr3) {
    if (!(s->current = space_of(s, cr3))) {
        shadows_drop(s);                /* tables can be made again */
        s->current = space_of(s, cr3);
    }
    return s->current;
}

void shadows_end(struct shadows *s) {
    s->current = NULL;
    shadows_drop(s);
    pool_free(&s->links);
    pool_free(&s->tables);
}

static bool is_root(const struct shadows *s, const struct frame *f) {
    return s->current && guest_frame(s->current->root[FIRST_KIND]) == f;
}

bool shadow_is_root(const struct shadows *s, u64 hpa) { return is_root(s, frame_of(hpa)); }

/* All shadows of a frame go, with the entries that lead to them; the frame may be written then. */
bool unshadow(struct shadows *s, struct frame *f) {
    if (is_root(s, f))
        return false;
    for (struct space *space = s->spaces; space < s->spaces + SPACES; space++)
        if (space->root[FIRST_KIND] && guest_frame(space->root[FIRST_KIND]) == f)
            space_forget(s, space);
    while (f->tables) {
        struct shadow *sh = f->tables;
        while (sh->parents && sh->parents->next)
            unlink(s, sh->parents->entry);
        unlink(s, sh->parents->entry);  /* the last one: it goes */
    }
    return true;
}
