/* What the files of this kernel share. */
#ifndef HOSTILE_H
#define HOSTILE_H

#include "hypercall.h"
#include "pte.h"

#define USER 0x400000UL                 /* where it puts pages of container user */
#define DATA (PTE_P | PTE_W | PTE_U | PTE_NX)
#define CODE (PTE_P | PTE_U)

extern struct gk_boot *boot;
extern u64 target;                      /* at= */

void say(const char *);
void say_number(u64);                   /* in hexadecimal, and the end of a line */
void end(int status);
void nap(u64 ms);
void tell(const char *what, i64 value);
void look(u64 value);                   /* the end, if it is a secret */
u64 space_in_use(void);                 /* a new space */
i64 user_page(u64 space, u64 va, u64 gpa, u64 rights);  /* a page of guest-physical memory as container user's */

/* memory.c */
void memory_unbind(void), memory_quota(void), memory_reclaim(void), memory_lend(void), memory_keep(void), memory_borrow(void);

/* pager.c */
void pager_requests(void), pager_limit(void), pager_stale(void), pager_mapped(void), pager_leftovers(void);
void pager_twice(void), pager_unbound(void), pager_overlap(void), pager_behind(void), pager_across(void), pager_order(void);
void pager_bits(void), pager_crooked(void), pager_image(void), pager_module(void), pager_too_long(void), pager_no_list(void);
void pager_crooked_list(void), pager_hosts_list(void), pager_touched(void), pager_in_use(void), pager_shown(void);

/* balloon.c */
void balloon_requests(void), balloon_features(void), balloon_reports(void), balloon_changing(void), balloon_stale(void);
void balloon_stale_report(void), balloon_mapped(void), balloon_leftovers(void), balloon_others(void), balloon_ring(void);
void balloon_behind(void), balloon_far(void), balloon_twice(void), balloon_not_in(void), balloon_image(void);
void balloon_module(void), balloon_its_queue(void), balloon_touched(void), balloon_shown(void), balloon_in_use(void);
void balloon_odd(void), balloon_written(void), balloon_order(void), balloon_loop(void), balloon_indirect(void);
void balloon_next(void), balloon_head(void), balloon_wild(void), balloon_backwards(void), balloon_outside(void);
void balloon_wraps(void), balloon_itself(void), balloon_crooked_report(void), balloon_read_report(void);
void balloon_queue_report(void), balloon_far_report(void), balloon_mapped_report(void), balloon_crooked_huge(void);
void balloon_cut_huge(void), balloon_busy_huge(void);
/* random.c */
void random_requests(void), random_neighbour(void);

/* script.c */
extern bool scripted;                   /* an event goes on with the script */
void script_begin(void), script_go_on(void);

/* llfree.c */
void llfree_requests(void), llfree_words(void), llfree_mapped(void), llfree_leftovers(void);
void llfree_bad_outside(void), llfree_bad_across(void), llfree_bad_odd(void), llfree_bad_size(void), llfree_bad_huge(void);
void llfree_bad_twice(void), llfree_bad_behind(void), llfree_bad_touched(void), llfree_bad_shown(void), llfree_bad_cleared(void);
void llfree_bad_used(void);

#endif
