cd /tmp
cat > a.c <<'X'
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int order(const void *a, const void *b) { return *(const int *)a - *(const int *)b; }

int main(int argc, char **argv) {
    int v[] = {3, 1, 2}, n = atoi(argv[1]);

    qsort(v, 3, sizeof *v, order);
    printf("%d %d %d, %d, %.3f, %s\n", v[0], v[1], v[2], n, sqrt(2), strerror(2));
    return n;
}
X
tcc -Wall -c a.c
tcc -o a a.o -lm && ./a 21
echo $?
echo 'int b(void) { return 6; }' > b.c
tcc -shared -o libb.so b.c
echo 'int b(void); int main(void) { return b(); }' > c.c
tcc -o c c.c -L. -lb
LD_LIBRARY_PATH=. ./c
echo $?
printf '#define X 4\nX+__LINE__\n' | tcc -E - | tail -1
echo 'int f( {' | tcc -c - 2>&1
