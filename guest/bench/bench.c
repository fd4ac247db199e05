/* Bare loops for `paracell bench`.  The command line is: image name, what to do, how often.
 *
 *   straight N    N turns of arithmetic
 *   fault N       N page faults, each answered by a handler that skips the load
 *   walk N        N times: load CR3, then touch 512 pages
 *   cached N      the same with loads of CR3 that keep all translations: to another PCID, and back
 *   read N        N times VMREAD
 *   exit N        N times an exit from a virtual machine, and the entry before it
 *   two N         `walk N` in a virtual machine with an EPT
 */
typedef unsigned char u8;
typedef unsigned int u32;
typedef unsigned long u64;

void bench_straight(u64 count);
void bench_touch(u64 base, u64 pages);
void bench_fault(u64 address, u64 count);
void skip_instruction(void);
void vmx_read(u64 count);
_Bool vmx_exits(u64 count);
_Bool vmx_inside(void (*body)(u64), u64 argument);

enum { PRESENT = 1, WRITABLE = 2 };
enum { PAGES = 512, VECTOR_PF = 14, CR4_PCIDE = 1 << 17 };

static const u64 window = 2ul << 39;            /* the third entry of the top table */
static const u64 nowhere = 5ul << 39;

static u64 page_directory_pointers[512] __attribute__((aligned(4096)));
static u64 page_directory[512] __attribute__((aligned(4096)));
static u64 page_table[512] __attribute__((aligned(4096)));

static u64 gdt[] = { 0, 0x00af9b000000ffff, 0x00cf93000000ffff, 0x00008b0000000067, 0 };    /* the last is a TSS */
static struct { u64 low, high; } idt[VECTOR_PF + 1];

struct pointer { unsigned short limit; u64 base; } __attribute__((packed));

static u64 read_cr3(void)
{
    u64 value;
    asm volatile("mov %%cr3, %0" : "=r"(value));
    return value;
}

static void load_tables(void)
{
    u64 handler = (u64)skip_instruction;
    idt[VECTOR_PF].low = (handler & 0xffff) | 8 << 16 | 0x8e00ul << 32 | (handler >> 16 & 0xffff) << 48;
    idt[VECTOR_PF].high = handler >> 32;
    struct pointer g = { sizeof gdt - 1, (u64)gdt }, i = { sizeof idt - 1, (u64)idt };
    asm volatile("lgdt %0\n\tlidt %1\n\tlldt %w2" : : "m"(g), "m"(i), "r"(0));
}

/* Map the window's 512 pages, all to one frame, through a table at each level. */
static void map_window(void)
{
    u64 *top = (u64 *)(read_cr3() & ~0xffful);
    top[window >> 39 & 511] = (u64)page_directory_pointers | PRESENT | WRITABLE;
    page_directory_pointers[0] = (u64)page_directory | PRESENT | WRITABLE;
    page_directory[0] = (u64)page_table | PRESENT | WRITABLE;
    for (int i = 0; i < PAGES; i++)
        page_table[i] = (u64)page_table | PRESENT;
}

static void touch_again_and_again(u64 count)
{
    u64 cr3 = read_cr3();
    while (count--) {
        asm volatile("mov %0, %%cr3" : : "r"(cr3) : "memory");
        bench_touch(window, PAGES);
    }
}

static void touch_what_is_cached(u64 count)
{
    u64 cr3 = read_cr3(), keep = 1ul << 63;
    while (count--) {
        asm volatile("mov %0, %%cr3" : : "r"(cr3 | keep | 1) : "memory");
        asm volatile("mov %0, %%cr3" : : "r"(cr3 | keep) : "memory");
        bench_touch(window, PAGES);
    }
}

static const char *word(const char *s)          /* the next word */
{
    while (*s && *s != ' ')
        s++;
    return *s ? s + 1 : s;
}

static u64 number(const char *s)
{
    u64 n = 0;
    while (*s >= '0' && *s <= '9')
        n = n * 10 + (u64)(*s++ - '0');
    return n;
}

__attribute__((noreturn)) void bench_main(u32 *information)
{
    const char *what = word((const char *)(u64)information[4]);
    u64 count = number(word(what));
    u64 cr4;
    u32 failed = 0;

    load_tables();
    switch (*what) {
    case 's':
        bench_straight(count);
        break;
    case 'f':
        bench_fault(nowhere, count);
        break;
    case 'w':
        map_window();
        touch_again_and_again(count);
        break;
    case 'r':
        vmx_read(count);
        break;
    case 'e':
        failed = !vmx_exits(count);
        break;
    case 't':
        map_window();
        failed = !vmx_inside(touch_again_and_again, count);
        break;
    case 'c':
        asm volatile("mov %%cr4, %0" : "=r"(cr4));
        asm volatile("mov %0, %%cr4" : : "r"(cr4 | CR4_PCIDE));
        map_window();
        touch_what_is_cached(count);
        break;
    }
    asm volatile("outl %0, $0xf4" : : "a"(failed));
    for (;;)
        asm volatile("hlt");
}
