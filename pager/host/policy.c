/* Which memory policy the host works by, and its turn: one for all containers, for the host has one pool. */
#include "policy.h"

#include "host.h"
#include "options.h"
#include "platform/time.h"

static const struct policy touch = {.name = "touch"}, pager = {.name = "pager"};
static const struct policy *const policies[] = {&touch, &pager, &static_4k, &static_2m,
                                               &balloon_4k, &balloon_2m, &report_4k, &report_2m, &hyperalloc};

static const struct policy *policy;     /* NULL: none was named */
static u64 next_tick;

void policy_choose(u64 *from, u64 pages) {
    for (u64 i = 0; i < sizeof policies / sizeof *policies; i++)
        if (option_is("policy", policies[i]->name))
            policy = policies[i];
    if (!policy && option_given("policy"))
        panic("option policy= names no memory policy");
    if (policy && policy->reserve)
        policy->reserve(from, pages);
}

void policy_init(void) {
    if (policy && policy->tick)
        next_tick = plat_cycles() + policy->period * plat_cycles_per_second();
}

bool policy_allows_pager(void) { return !policy || policy == &pager; }
void policy_reset(void) {
    if (policy && policy->reset)
        policy->reset();
}

bool policy_begin(void) { return !policy || !policy->begin || policy->begin(); }

i64 policy_request(u64 function, u64 a, u64 b) {
    return policy && policy->request ? policy->request(function, a, b) : -ENOSYS;
}

static bool reclaimed;

static void reclaim(void) { reclaimed |= policy->reclaim(); }

bool policy_reclaim(void) {
    reclaimed = false;
    if (policy && policy->reclaim)
        each_other_container(reclaim);
    return reclaimed;
}

bool policy_withholds(u64 page) { return policy && policy->withholds && policy->withholds(page); }
const char *policy_withheld(void) { return policy->withheld; }

bool policy_wait(int turns) {
    if (pages_are_short() && policy && policy->wish)
        policy->wish();
    for (; turns && pages_are_short(); turns--)
        schedule();
    return self->memory.held < self->memory.limit && !pages_are_short();
}

u64 policy_deadline(void) { return next_tick; }

void policy_rings(u64 now) {
    if (!next_tick || now < next_tick)
        return;
    next_tick += policy->period * plat_cycles_per_second();
    if (next_tick <= now)       /* nobody could be told for longer than a period */
        next_tick = now + policy->period * plat_cycles_per_second();
    each_container(policy->tick);
}
