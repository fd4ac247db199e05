/* agent FILE [scale=PERCENT] [keep=PERCENT] [seconds=N] [seed=N]: what a coding agent and its tools do to memory, by a trace.
 *
 *   the agent   █████████████████████████████████████    base: for as long as it runs
 *   its tools         ▟█▌      ▟█▌  ▟▌         ▟██▌      processes; what a spike takes goes when it is over
 *   files                ▂▂▂▂▂▂▂▂▃▃▃▃▃▃▃▃▃▃▃▃▃▃▃▃▃▄▄▄    keep= of their pages: compiled code, caches, packages
 *                think    think    think   think
 *
 * A line of the trace is one of
 *
 *   seed N                          of sizes and times, which vary by a quarter, and of the files' sizes
 *   base MIB                        the agent's own memory
 *   think SECONDS                   nothing runs
 *   tool NAME MIB SECONDS [TIMES]   a process that takes MIB, TIMES times in its SECONDS
 *   repeat N ... end
 *
 * and what is behind a # is a remark.  Each spike of a tool writes the tool's files anew. */
#include <stdbool.h>

#include "program.h"

#define PAGE 4096UL
#define PAGES_OF_MIB 256UL
#define SPIKE_MS 1500UL         /* at most: arXiv 2602.09345 tells of 1 to 2 s */
#define GROWS_IN 8UL            /* steps */
#define LARGEST_FILE 8UL        /* pages */
#define MOST_TEXT 16384
#define MOST_STEPS 256
#define MOST_WORDS 6
#define MOST_DEPTH 4
#define MOST 1000000UL          /* MiB, seconds, times */
#define PROT_READ_WRITE 3
#define MAP_PRIVATE_ANONYMOUS 0x22
#define O_WRONLY_CREATE_TRUNCATE 01101

enum kind { SEED, BASE, THINK, TOOL, REPEAT, END };
struct step { enum kind kind; const char *name; u64 size, ms, times; u32 from; };      /* from: of an end, its repeat */

static const char *file;
static u64 scale = 100, keep, seconds = MOST, seed;
static struct step steps[MOST_STEPS];
static u32 step_count;

/* ---- reading the trace ---- */

static void wrong(u32 line, const char *what, const char *word) {
    print("agent: %s:%u: %s%s\n", file, line, what, word);
    syscall(SYS_exit_group, 2);
}

/* A decimal number in thousandths. */
static u64 thousandths(const char *word, u32 line) {
    const char *s = word;
    u64 value = 0, unit = 1000;

    while (*s >= '0' && *s <= '9' && value <= MOST * 1000)
        value = value * 10 + (u64)(*s++ - '0') * 1000;
    bool digits = s > word;
    for (s += *s == '.'; *s >= '0' && *s <= '9' && unit > 1; s++)
        value += (u64)(*s - '0') * (unit /= 10);
    if (*s || !digits || value > MOST * 1000)
        wrong(line, "no number between 0 and 1000000: ", word);
    return value;
}

static u64 whole(const char *word, u32 line) {
    u64 value = thousandths(word, line);

    if (value < 1000 || value % 1000)
        wrong(line, "no whole number from 1 on: ", word);
    return value / 1000;
}

static void need(u32 count, u32 least, u32 most, u32 line, const char *form) {
    if (count < least || count > most)
        wrong(line, "write: ", form);
}

static void read_step(char **word, u32 count, u32 line) {
    static u32 open[MOST_DEPTH], depth;
    struct step *s = &steps[step_count];

    if (step_count == MOST_STEPS)
        wrong(line, "too many lines, from ", word[0]);
    if (!count) {                       /* the end of the file */
        if (depth)
            wrong(steps[open[depth - 1]].from, "a repeat has no end", "");
    } else if (!strcmp(word[0], "seed")) {
        need(count, 2, 2, line, "seed N");
        *s = (struct step){SEED, .size = whole(word[1], line)};
    } else if (!strcmp(word[0], "base")) {
        need(count, 2, 2, line, "base MIB");
        *s = (struct step){BASE, .size = thousandths(word[1], line)};
    } else if (!strcmp(word[0], "think")) {
        need(count, 2, 2, line, "think SECONDS");
        *s = (struct step){THINK, .ms = thousandths(word[1], line)};
    } else if (!strcmp(word[0], "tool")) {
        need(count, 4, 5, line, "tool NAME MIB SECONDS [TIMES]");
        *s = (struct step){TOOL, word[1], thousandths(word[2], line), thousandths(word[3], line), count > 4 ? whole(word[4], line) : 1, 0};
    } else if (!strcmp(word[0], "repeat")) {
        need(count, 2, 2, line, "repeat N");
        if (depth == MOST_DEPTH)
            wrong(line, "too many repeats in each other", "");
        open[depth++] = step_count;
        *s = (struct step){REPEAT, .times = whole(word[1], line), .from = line};
    } else if (!strcmp(word[0], "end")) {
        need(count, 1, 1, line, "end");
        if (!depth)
            wrong(line, "an end without a repeat", "");
        *s = (struct step){END, .from = open[--depth]};
    } else {
        wrong(line, "no such word: ", word[0]);
    }
    step_count += count > 0;
}

static bool is_space(char c) { return c == ' ' || c == '\t' || c == '\r'; }

/* Each line becomes words in place. */
static void read_trace(char *at) {
    char *word[MOST_WORDS];
    u32 line = 1;

    for (bool more = true; more; line++) {
        u32 count = 0;
        while (*at && *at != '\n' && *at != '#') {
            if (is_space(*at)) {
                *at++ = 0;
                continue;
            }
            if (count == MOST_WORDS)
                wrong(line, "too many words", "");
            for (word[count++] = at; *at && *at != '\n' && *at != '#' && !is_space(*at);)
                at++;
        }
        char *end = at;
        while (*at && *at != '\n')
            at++;
        more = *at;
        at += more;
        *end = 0;
        if (count)
            read_step(word, count, line);
    }
    read_step(word, 0, line - 1);
}

static void load(void) {
    static char text[MOST_TEXT + 1];
    i64 fd = syscall(SYS_open, file, 0, 0), size = fd < 0 ? fd : syscall(SYS_read, fd, text, MOST_TEXT);

    if (size < 0 || size == MOST_TEXT) {
        print(size < 0 ? "agent: %s: cannot be read\n" : "agent: %s: longer than a trace may be\n", file);
        syscall(SYS_exit_group, 2);
    }
    syscall(SYS_close, fd);
    read_trace(text);
}

/* ---- playing it ---- */

static u64 random(void) {       /* xorshift64: Marsaglia, "Xorshift RNGs", 2003 */
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed;
}

static void set_seed(u64 to) { seed = to * 0x9e3779b97f4a7c15; }
static u64 vary(u64 value) { return value * (75 + random() % 51) / 100; }

static void sleep_ms(u64 ms) {
    u64 time[2] = {ms / 1000, ms % 1000 * 1000000};

    syscall(SYS_nanosleep, time, NULL);
}

static u8 *map(u64 pages) {
    i64 at = syscall(SYS_mmap, NULL, pages * PAGE, PROT_READ_WRITE, MAP_PRIVATE_ANONYMOUS, -1, 0);

    if (at < 0) {
        print("agent: no memory: error %ld\n", -at);
        syscall(SYS_exit_group, 1);
    }
    return (u8 *)at;
}

static void write_file(const char *tool, u64 number, u64 pages) {
    static const char folder[] = "/tmp/agent-", bytes[PAGE];
    char name[sizeof folder + 32], *to = name + sizeof folder - 1;

    memcpy(name, folder, sizeof folder);
    for (u32 i = 0; tool[i] && i < 16; i++)
        *to++ = tool[i] == '/' ? '-' : tool[i];
    for (*to++ = '-'; number; number /= 10)
        *to++ = (char)('0' + number % 10);
    *to = 0;
    i64 fd = syscall(SYS_open, name, O_WRONLY_CREATE_TRUNCATE, 0644);
    while (fd >= 0 && pages--)
        syscall(SYS_write, fd, bytes, PAGE);
    syscall(SYS_close, fd);
}

/* Memory and files come in turns, as where a tool writes what it computes. */
static void spike(const char *tool, u64 pages, u64 ms) {
    u8 *memory = map(pages);
    u64 owed = 0, size = 1 + random() % LARGEST_FILE, done = 0, files = 0;

    for (u64 i = 1; i <= GROWS_IN; i++) {
        while (done < pages * i / GROWS_IN) {
            memory[done++ * PAGE] = 1;
            owed += keep;
            if (owed >= (100 - keep) * size) {
                write_file(tool, ++files, size);
                owed -= (100 - keep) * size;
                done += size;           /* of its pages, these are the files' */
                size = 1 + random() % LARGEST_FILE;
            }
        }
        sleep_ms(ms / 2 / GROWS_IN);
    }
    sleep_ms(ms / 2);
    syscall(SYS_munmap, memory, pages * PAGE);
}

static void be_tool(const char *name, u64 pages, u64 ms, u64 times) {
    u64 each = ms / times, up = each < SPIKE_MS ? each : SPIKE_MS;

    for (u64 i = 0; i < times; i++) {
        spike(name, pages, up);
        sleep_ms(each - up);
    }
}

static bool run_tool(const char *name, u64 pages, u64 ms, u64 times) {
    i64 child = syscall(SYS_fork);
    i32 status = 1;

    if (!child) {
        be_tool(name, pages, ms, times);
        syscall(SYS_exit_group, 0);
    }
    if (child > 0)
        syscall(SYS_wait4, child, &status, 0, NULL);
    print("%s: %lu pages%s\n", name, pages, status ? ", killed" : "");
    return !status;
}

static u64 pages_of(u64 thousandths_of_mib) { return thousandths_of_mib * PAGES_OF_MIB * scale / 100000; }

static void take_base(u64 pages) {
    u8 *memory = pages ? map(pages) : NULL;

    for (u64 i = 0; i < pages; i++)
        memory[i * PAGE] = 1;
    print("base: %lu pages\n", pages);
}

static int play(bool seed_given) {
    u64 played = 0;             /* ms, by the trace */
    bool well = true;

    for (u32 i = 0; i < step_count && played < seconds * 1000; i++) {
        struct step *s = &steps[i];
        u64 ms = 0;
        if (s->kind == SEED && !seed_given)
            set_seed(s->size);
        else if (s->kind == BASE)
            take_base(pages_of(s->size));
        else if (s->kind == THINK)
            sleep_ms(ms = vary(s->ms));
        else if (s->kind == TOOL) {
            u64 pages = pages_of(vary(s->size));
            well &= run_tool(s->name, pages ? pages : 1, ms = vary(s->ms), s->times);
        } else if (s->kind == REPEAT)
            s->size = s->times;         /* how often it is still to run */
        else if (s->kind == END && --steps[s->from].size)
            i = s->from;
        played += ms;
    }
    return !well;
}

static bool is_option(const char *word, const char *name, u64 most, u64 *to) {
    while (*name && *word == *name)
        word++, name++;
    if (*name || *word++ != '=' || *word < '0' || *word > '9' || strlen(word) > 7 || number(word) > most)
        return false;
    *to = number(word);
    return true;
}

int main(int argc, char **argv) {
    u64 given = 0;
    bool usage = argc < 2;

    for (int i = 2; i < argc; i++)
        usage |= !is_option(argv[i], "scale", 1000, &scale) && !is_option(argv[i], "keep", 50, &keep) &&
                 !is_option(argv[i], "seconds", MOST, &seconds) && !is_option(argv[i], "seed", MOST, &given);
    if (usage) {
        print("usage: agent FILE [scale=PERCENT] [keep=PERCENT up to 50] [seconds=N] [seed=N]\n");
        return 2;
    }
    file = argv[1];
    load();
    set_seed(given ? given : 1);
    return play(given);
}
