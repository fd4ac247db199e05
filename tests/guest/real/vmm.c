// A virtual-machine monitor over /dev/kvm.  It runs three virtual machines and prints what they ask of it: one in real
// mode, one with KVM's own interrupt controllers and timer, one in 64-bit mode; with the argument "long" only the last.
// The output is always the same.
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

enum { LOW = 0xc0000, HIGH = 0x100000, END = 0x200000 }; // memory is there below LOW, and from HIGH to END
enum { REAL = 0x1000, LONG = 0x2000, STACK = 0x4000, TABLES = 0x4000, GATES = 0xa000, SEGMENTS = 0xb000 };
enum { CODE = 8, DATA = 16, UNDEFINED = 6, PAGE_FAULT = 14 };
enum { PRESENT_WRITABLE = 3, LARGE = 0x80 };

extern const char real_start[], real_end[], ticks_start[];
extern const char long_start[], long_end[], long_fault[], long_undefined[];

typedef struct {
    int vm, vcpu;
    uint8_t *memory; // END bytes, from guest-physical 0
    struct kvm_run *run;
} Machine;

static int kvm;

static int check(int result, const char *what) {
    if (result < 0) {
        perror(what);
        exit(1);
    }
    return result;
}

static void add_memory(Machine *m, int slot, uint64_t from, uint64_t to, int flags) {
    struct kvm_userspace_memory_region region = {slot, flags, from, to - from, (uint64_t)m->memory + from};
    check(ioctl(m->vm, KVM_SET_USER_MEMORY_REGION, &region), "KVM_SET_USER_MEMORY_REGION");
}

static Machine create(int devices) {
    Machine m = {.vm = check(ioctl(kvm, KVM_CREATE_VM, 0), "KVM_CREATE_VM")};
    m.memory = mmap(0, END, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    check(m.memory == MAP_FAILED ? -1 : 0, "mmap");
    check(ioctl(m.vm, KVM_SET_TSS_ADDR, 0xfffbd000), "KVM_SET_TSS_ADDR"); // for real mode without unrestricted guest
    add_memory(&m, 0, 0, LOW, 0);
    add_memory(&m, 1, HIGH, END, KVM_MEM_LOG_DIRTY_PAGES);
    if (devices) {
        struct kvm_pit_config timer = {0};
        check(ioctl(m.vm, KVM_CREATE_IRQCHIP, 0), "KVM_CREATE_IRQCHIP");
        check(ioctl(m.vm, KVM_CREATE_PIT2, &timer), "KVM_CREATE_PIT2");
    }
    m.vcpu = check(ioctl(m.vm, KVM_CREATE_VCPU, 0), "KVM_CREATE_VCPU");
    int size = check(ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0), "KVM_GET_VCPU_MMAP_SIZE");
    m.run = mmap(0, size, PROT_READ | PROT_WRITE, MAP_SHARED, m.vcpu, 0);
    check(m.run == MAP_FAILED ? -1 : 0, "mmap of the virtual processor");
    memcpy(m.memory + REAL, real_start, real_end - real_start);
    memcpy(m.memory + LONG, long_start, long_end - long_start);
    return m;
}

static void start(Machine *m, uint64_t rip) {
    struct kvm_regs regs = {.rip = rip, .rsp = STACK, .rflags = 2};
    check(ioctl(m->vcpu, KVM_SET_REGS, &regs), "KVM_SET_REGS");
}

static void real_mode(Machine *m) {
    struct kvm_sregs s;
    check(ioctl(m->vcpu, KVM_GET_SREGS, &s), "KVM_GET_SREGS");
    s.cs.base = s.cs.selector = 0; // after a reset it is the firmware's
    check(ioctl(m->vcpu, KVM_SET_SREGS, &s), "KVM_SET_SREGS");
}

static void gate(Machine *m, int vector, const char *handler) {
    uint64_t to = LONG + (handler - long_start);
    uint64_t words[2] = {(to & 0xffff) | CODE << 16 | 0x8eULL << 40 | (to >> 16) << 48, 0};
    memcpy(m->memory + GATES + 16 * vector, words, sizeof words);
}

static void long_mode(Machine *m) {
    uint64_t *table = (uint64_t *)(m->memory + TABLES), *segments = (uint64_t *)(m->memory + SEGMENTS);
    table[0] = TABLES + 0x1000 + PRESENT_WRITABLE;              // PML4
    table[512] = TABLES + 0x2000 + PRESENT_WRITABLE;            // its first GiB
    table[512 + 320] = TABLES + 0x4000 + PRESENT_WRITABLE;      // and the one at 0x50_0000_0000
    table[2 * 512] = LARGE + PRESENT_WRITABLE;                  // 2 MiB as they are
    table[4 * 512] = TABLES + 0x5000 + PRESENT_WRITABLE;        // a table without entries
    segments[CODE / 8] = 0x00af9b000000ffff;
    segments[DATA / 8] = 0x00cf93000000ffff;
    gate(m, UNDEFINED, long_undefined);
    gate(m, PAGE_FAULT, long_fault);

    struct kvm_segment code = {.limit = -1U, .selector = CODE, .type = 11, .present = 1, .s = 1, .l = 1, .g = 1};
    struct kvm_segment data = {.limit = -1U, .selector = DATA, .type = 3, .present = 1, .s = 1, .db = 1, .g = 1};
    struct kvm_sregs s;
    check(ioctl(m->vcpu, KVM_GET_SREGS, &s), "KVM_GET_SREGS");
    s.cr0 = 0x80010033, s.cr3 = TABLES, s.cr4 = 0x20, s.efer = 0xd00; // PG WP NE ET MP PE, PAE, NXE LMA LME
    s.cs = code, s.ds = s.es = s.fs = s.gs = s.ss = data;
    s.gdt.base = SEGMENTS, s.gdt.limit = 23, s.idt.base = GATES, s.idt.limit = 16 * 32 - 1;
    check(ioctl(m->vcpu, KVM_SET_SREGS, &s), "KVM_SET_SREGS");
}

static void name_processor(Machine *m) {
    enum { MOST = 100, OURS = 0x40000000, VMM = 0x214d4d56 };
    struct kvm_cpuid2 *leaves = calloc(1, sizeof *leaves + MOST * sizeof leaves->entries[0]);
    leaves->nent = MOST;
    check(ioctl(kvm, KVM_GET_SUPPORTED_CPUID, leaves), "KVM_GET_SUPPORTED_CPUID");
    for (unsigned i = 0; i < leaves->nent; i++)
        if (leaves->entries[i].function == OURS) leaves->entries[i].ebx = VMM;
    check(ioctl(m->vcpu, KVM_SET_CPUID2, leaves), "KVM_SET_CPUID2");
    free(leaves);
}

static void port(struct kvm_run *run) {
    uint8_t *data = (uint8_t *)run + run->io.data_offset;
    uint32_t size = run->io.size, value = 0;
    for (uint32_t i = 0; i < run->io.count; i++, data += size) {
        memcpy(&value, data, size);
        if (run->io.direction == KVM_EXIT_IO_IN) memset(data, 41, size), printf("  in 0x%x: 41\n", run->io.port);
        else if (run->io.port == 0x3f8) putchar((int)value);
        else printf("  out 0x%x: %#x\n", run->io.port, value);
    }
}

static void absent_memory(struct kvm_run *run) {
    uint64_t value = 0x5152535455565758;
    if (run->mmio.is_write) value = 0, memcpy(&value, run->mmio.data, run->mmio.len);
    else memcpy(run->mmio.data, &value, run->mmio.len);
    printf("  %s of %u bytes at %#llx: %#llx\n", run->mmio.is_write ? "write" : "read", run->mmio.len,
           (unsigned long long)run->mmio.phys_addr, (unsigned long long)value);
}

// Runs until the guest halts, shuts down or writes to port 0xf4.
static void go(Machine *m, const char *what) {
    struct kvm_run *run = m->run;
    printf("%s\n", what);
    for (;;) {
        check(ioctl(m->vcpu, KVM_RUN, 0), "KVM_RUN");
        switch (run->exit_reason) {
        case KVM_EXIT_IO:
            if (run->io.port == 0xf4) return;
            port(run);
            break;
        case KVM_EXIT_MMIO: absent_memory(run); break;
        case KVM_EXIT_HLT: printf("  halted\n"); return;
        case KVM_EXIT_SHUTDOWN: printf("  shut down\n"); return;
        case KVM_EXIT_FAIL_ENTRY:
            printf("  no entry: %#llx\n", (unsigned long long)run->fail_entry.hardware_entry_failure_reason);
            exit(1);
        case KVM_EXIT_INTERNAL_ERROR: printf("  internal error %u\n", run->internal.suberror); exit(1);
        default: printf("  exit %u\n", run->exit_reason); exit(1);
        }
    }
}

static int dirty_pages(Machine *m) {
    uint64_t bits[(END - HIGH) / 4096 / 64] = {0};
    struct kvm_dirty_log log = {.slot = 1, .dirty_bitmap = bits};
    int found = 0;
    check(ioctl(m->vm, KVM_GET_DIRTY_LOG, &log), "KVM_GET_DIRTY_LOG");
    for (size_t i = 0; i < sizeof bits / sizeof bits[0]; i++) found += __builtin_popcountll(bits[i]);
    return found;
}

static void run_real_mode(void) {
    Machine m = create(0);
    real_mode(&m), start(&m, REAL);
    go(&m, "real mode, until it halts"), go(&m, "and again");
}

static void run_ticks(void) {
    Machine m = create(1);
    real_mode(&m), start(&m, REAL + (ticks_start - real_start));
    go(&m, "five ticks of KVM's timer");
}

static void run_long_mode(void) {
    Machine m = create(0);
    name_processor(&m), long_mode(&m), start(&m, LONG);
    go(&m, "64-bit mode, until it halts");
    int first = dirty_pages(&m);
    printf("dirty pages: %d, then %d\n", first, dirty_pages(&m));
    go(&m, "a triple fault");
}

int main(int count, char **arguments) {
    kvm = check(open("/dev/kvm", O_RDWR), "/dev/kvm");
    printf("KVM's interface %d\n", check(ioctl(kvm, KVM_GET_API_VERSION, 0), "KVM_GET_API_VERSION"));
    if (count < 2 || strcmp(arguments[1], "long")) run_real_mode(), run_ticks();
    run_long_mode();
    return 0;
}
