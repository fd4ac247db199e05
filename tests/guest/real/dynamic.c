/* A dynamic executable: what its loader, its libraries and the kernel made of it.  `dynamic` prints what is the same
 * everywhere; `dynamic where` prints addresses. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <elf.h>
#include <fcntl.h>
#include <link.h>
#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGE 4096UL
#define PLUGIN "/lib/plugin.so"

extern char **environ;
static __thread int own = 5;

static void auxiliary(void) {
    const Elf64_Phdr *p = (const Elf64_Phdr *)getauxval(AT_PHDR);
    unsigned long interpreters = 0, loads = 0, base = getauxval(AT_BASE);

    for (unsigned long i = 0; i < getauxval(AT_PHNUM); i++) {
        interpreters += p[i].p_type == PT_INTERP;
        loads += p[i].p_type == PT_LOAD;
    }
    printf("auxv: %lu interpreter, more than one segment %d, page %lu, header %lu\n", interpreters, loads > 1,
           getauxval(AT_PAGESZ), getauxval(AT_PHENT));
    printf("auxv: loader's header %.3s, entry in the program %d, secure %lu, tick %lu\n", (char *)base + 1,
           labs((long)getauxval(AT_ENTRY) - (long)auxiliary) < 1 << 24, getauxval(AT_SECURE), getauxval(AT_CLKTCK));
    printf("auxv: name %s, platform %s, random %d, frame %d\n", (char *)getauxval(AT_EXECFN), (char *)getauxval(AT_PLATFORM),
           getauxval(AT_RANDOM) != 0, getauxval(AT_MINSIGSTKSZ) > 500);
}

/* The loader looks these up when they are first called, with arguments in vector registers. */
static void lazily(volatile double x) {
    printf("lazy: %.6f %.6f %.6f %.6f\n", pow(x, 3.5), fmod(x * 10, 3), hypot(x, 4), atan2(x, x + 1));
}

static void *thread(void *library) {
    int (*count)(void) = (int (*)(void))dlsym(library, "plugin_count");

    own += 1;
    count();
    return (void *)(long)(own * 100 + count());
}

static void plugins(void) {
    for (int round = 0; round < 4; round++) {
        void *library = dlopen(PLUGIN, round & 1 ? RTLD_LAZY : RTLD_NOW), *result;
        if (!library) {
            printf("dlopen: %s\n", dlerror());
            return;
        }
        double (*work)(double, int) = (double (*)(double, int))dlsym(library, "plugin_work");
        int (*count)(void) = (int (*)(void))dlsym(library, "plugin_count");
        count(), count(), count();
        pthread_t t;
        pthread_create(&t, NULL, thread, library);
        pthread_join(t, &result);
        printf("plugin: work %.4f, count %d, in a thread %ld, missing %d\n", work(2, round), count(), (long)result,
               dlsym(library, "nothing") == NULL);
        dlclose(library);
    }
    printf("plugin: no such file %d\n", dlopen("/lib/nothing.so", RTLD_NOW) == NULL);
}

/* Code in a file of our own: it is mapped, changed, and mapped again. */
static void changing(void) {
    static const unsigned char one[] = {0xb8, 1, 0, 0, 0, 0xc3}, two[] = {0xb8, 2, 0, 0, 0, 0xc3};
    int fd = open("/tmp/code", O_RDWR | O_CREAT | O_TRUNC, 0700);

    ftruncate(fd, 3 * PAGE);
    pwrite(fd, one, sizeof one, PAGE);
    int (*first)(void) = (int (*)(void))mmap(NULL, PAGE, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, PAGE);
    int a = first();
    int (*again)(void) = (int (*)(void))mmap(NULL, PAGE, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, PAGE);
    int b = again();
    pwrite(fd, two, sizeof two, PAGE);
    int (*second)(void) = (int (*)(void))mmap(NULL, 2 * PAGE, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, PAGE);
    printf("changing: %d %d %d\n", a, b, second());
    pid_t child = fork();
    if (!child)
        _exit(second() + again() * 0);
    int status;
    waitpid(child, &status, 0);
    printf("changing: in a child %d\n", WEXITSTATUS(status));
    close(fd);
}

static sigjmp_buf back;
static void caught(int signal) { siglongjmp(back, signal); }

/* One after the other, never both. */
static void toggling(void) {
    unsigned char *code = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    int sum = 0;

    for (int i = 0; i < 3; i++) {
        mprotect(code, PAGE, PROT_READ | PROT_WRITE);
        memcpy(code, (unsigned char[]){0xb8, (unsigned char)(10 + i), 0, 0, 0, 0xc3}, 6);
        mprotect(code, PAGE, PROT_READ | PROT_EXEC);
        sum = sum * 100 + ((int (*)(void))code)();
    }
    signal(SIGSEGV, caught);
    int got = sigsetjmp(back, 1);
    if (!got)
        *(volatile unsigned char *)code = 1;
    printf("toggling: %d, a write is signal %d\n", sum, got);
}

/* Behind a file's end in a mapping that is executable, and private pages of a file. */
static void files(void) {
    int fd = open(PLUGIN, O_RDONLY), got;
    long size = lseek(fd, 0, SEEK_END), pages = (size + (long)PAGE - 1) / (long)PAGE;
    char *all = mmap(NULL, (unsigned long)(pages + 4) * PAGE, PROT_READ, MAP_PRIVATE, fd, 0);
    char *over = mmap(all + PAGE, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED, fd, 0);

    over[1] = 'X';
    printf("files: %.3s %.3s\n", all + 1, over + 1);
    signal(SIGBUS, caught);
    if (!(got = sigsetjmp(back, 1)))
        (void)*(volatile char *)(all + pages * (long)PAGE);
    printf("files: behind the end is signal %d\n", got);
    close(fd);
}

static int segments(struct dl_phdr_info *info, size_t size, void *count) {
    (void)info, (void)size;
    ++*(int *)count;
    return 0;
}

int main(int argc, char **argv) {
    int objects = 0;

    if (argc > 1 && !strcmp(argv[1], "where")) {
        void *library = dlopen(PLUGIN, RTLD_NOW);
        printf("%p %p %p %p %p\n", (void *)main, (void *)dlsym(library, "plugin_work"), (void *)&objects, sbrk(0), (void *)getauxval(AT_BASE));
        return 0;
    }
    setvbuf(stdout, NULL, _IONBF, 0);
    auxiliary();
    lazily(2.5);
    plugins();
    changing();
    toggling();
    files();
    dl_iterate_phdr(segments, &objects);
    printf("objects: some %d\n", objects >= 2);
    return 7;
}
