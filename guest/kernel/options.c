/* The kernel's command line: space-separated name=value, values are numbers or words. */
#include "options.h"

#include "kernel.h"

static const char *cmdline = "";

void options_init(const char *line) { cmdline = line; }

static u64 number(const char *s) {
    u64 base = 10, value = 0;

    if (s[0] == '0' && s[1] == 'x')
        base = 16, s += 2;
    for (;; s++) {
        u64 digit = *s >= '0' && *s <= '9' ? (u64)(*s - '0') : (u64)((*s | 32) - 'a' + 10);
        if (digit >= base)
            return value;
        value = value * base + digit;
    }
}

/* What stands behind `name=`; NULL: it is not there. */
static const char *value_of(const char *name) {
    u64 n = strlen(name);

    for (const char *s = cmdline; *s;) {
        if (strnlen(s, n + 1) > n && memcmp(s, name, n) == 0 && s[n] == '=')
            return s + n + 1;
        while (*s && *s != ' ')
            s++;
        while (*s == ' ')
            s++;
    }
    return NULL;
}

bool option_given(const char *name) { return value_of(name); }

u64 option(const char *name, u64 otherwise) {
    const char *value = value_of(name);

    return value ? number(value) : otherwise;
}

bool option_is(const char *name, const char *word) {
    const char *value = value_of(name);
    u64 n = strlen(word);

    return value && strnlen(value, n) == n && memcmp(value, word, n) == 0 && (!value[n] || value[n] == ' ');
}
