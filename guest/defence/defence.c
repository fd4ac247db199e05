/* Which defences a positive control switches off. */
#include "defence.h"

#include "lib/string.h"

u64 defences_off;

static const char *const names[] = {
#define DEFENCE(name) #name,
#include "defences.def"
#undef DEFENCE
};

/* The length of `word` if `at` begins with it, and with nothing longer. */
static u64 word_at(const char *at, const char *word) {
    u64 n = strlen(word);

    return strnlen(at, n) == n && memcmp(at, word, n) == 0 && (!at[n] || at[n] == ' ') ? n : 0;
}

void defences_init(const char *options) {
    for (const char *at = options; *at; at++) {
        if ((at != options && at[-1] != ' ') || strnlen(at, 4) < 4 || memcmp(at, "off=", 4) != 0)
            continue;
        for (u64 i = 0; i < COUNT(names); i++)
            if (word_at(at + 4, names[i]))
                defences_off |= 1UL << i;
    }
}
