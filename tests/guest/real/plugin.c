/* A library that dynamic.c opens. */
#include <math.h>
#include <stdio.h>

static __thread int count;
static const char *(*const table[])(void);

static const char *zero(void) { return "zero"; }
static const char *one(void) { return "one"; }
static const char *(*const table[])(void) = {zero, one};       /* relocated */

__attribute__((constructor)) static void begins(void) { puts("plugin: begins"); }
__attribute__((destructor)) static void ends(void) { puts("plugin: ends"); }

int plugin_count(void) { return ++count; }

double plugin_work(double x, int n) {
    printf("plugin: %s\n", table[n & 1]());
    return sqrt(x) + cbrt(n);
}
