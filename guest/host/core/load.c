/* Share the memory out, and put a container's kernel and modules into guest-physical memory. */
#include "host.h"
#include "options.h"
#include "policy.h"
#include "x86.h"

#define MIB (1UL << 20)
#define RESERVE 64              /* pages kept for tables that the formula below forgets */

static const struct multiboot *information;
static int slots;
static u64 limit, reserve;      /* pages, of each container */

int containers_count(const struct multiboot *info) {
    information = info;
    if (info->mods_count < 3)
        panic("boot: three modules are wanted for each container: kernel, rootfs, init; there are %u", info->mods_count);
    slots = (int)MIN(info->mods_count / 3, (u32)MAX_RUNNING);
    return (int)MIN(info->mods_count / 3, (u32)MAX_CONTAINERS);
}

/* By itself each has an equal part, all of it in reserve.  With a larger limit= those that run together may want
 * more than there is. */
void containers_share(void) {
    u64 part = pages_unpromised() / (u64)slots;

    limit = option("limit", 0) * MIB / PAGE_SIZE;
    limit = limit ? MIN(limit, pages_unpromised()) : part;
    reserve = option("reserve", ~0UL) == ~0UL ? MIN(part, limit) : MIN(option("reserve", 0) * MIB / PAGE_SIZE, MIN(part, limit));
}

/* Copy one segment to its guest-physical place. */
static bool load_segment(const u8 *image, const struct elf_segment *s) {
    for (u64 done = 0; done < s->memsz;) {
        u64 gpa = s->paddr + done, part = MIN(s->memsz - done, PAGE_SIZE - (gpa & PAGE_MASK)), hpa = binding_get(gpa);
        if (!hpa)
            return false;
        if (done < s->filesz)
            memcpy((u8 *)host(hpa) + (gpa & PAGE_MASK), image + s->offset + done, MIN(part, s->filesz - done));
        done += part;
    }
    return true;
}

/* A module's pages become guest-physical memory as they are. */
static bool lend_module(const struct module *m, u64 gpa) {
    for (u64 at = 0; at < m->end - m->start; at += PAGE_SIZE)
        if (!binding_lend(gpa + at, m->start + at))
            return false;
    return true;
}

static u64 behind(const struct module *m, u64 gpa) { return gpa + ROUND_UP(m->end - m->start, PAGE_SIZE); }
static u64 pages_of(const struct module *m) { return behind(m, 0) >> PAGE_SHIFT; }

static const char *command_line(void) {
    return information->flags & MULTIBOOT_CMDLINE ? host(information->cmdline) : "";
}

void container_load(int number) {
    const struct module *modules = (struct module *)host(information->mods_addr) + 3 * number;
    const u8 *image = host(modules[0].start);
    const struct elf_header *kernel = (const struct elf_header *)image;
    const struct elf_segment *segments = (const struct elf_segment *)(image + kernel->phoff);
    u64 rootfs = 0;
    bool fits = true;

    /* Tables are charged as well, those for lent pages too; the lent pages themselves come on top of what it may have. */
    u64 lent = pages_of(&modules[1]) + pages_of(&modules[2]), tables = limit / 64 + lent / 256 + MIN(limit / 2, RESERVE);

    account_open(&self->memory, reserve, limit);
    bindings_begin(limit - MIN(tables, limit) + lent);
    if (!vcpu_create(&self->vcpu))
        kill_container("boot: no memory for its page tables", limit);
    for (int i = 0; i < kernel->phnum; i++)
        if (segments[i].type == PT_LOAD) {
            fits = fits && load_segment(image, &segments[i]);
            rootfs = MAX(rootfs, ROUND_UP(segments[i].paddr + segments[i].memsz, PAGE_SIZE));
        }
    u64 init = behind(&modules[1], rootfs), boot_page = behind(&modules[2], init), at;
    if (!fits || !lend_module(&modules[1], rootfs) || !lend_module(&modules[2], init) || !(at = binding_get(boot_page)))
        kill_container("boot: kernel and modules do not fit into its memory", boot_page);
    struct gk_boot *boot = host(at);
    boot->memory = self->pages << PAGE_SHIFT;
    boot->free_start = boot_page + PAGE_SIZE;
    boot->rootfs = rootfs;
    boot->rootfs_size = modules[1].end - modules[1].start;
    boot->init = init;
    boot->init_size = modules[2].end - modules[2].start;
    boot->hwcap = cpuid(1, 0).d;
    for (u64 i = 0; i < sizeof boot->cmdline - 1 && command_line()[i]; i++)
        boot->cmdline[i] = command_line()[i];
    if (!policy_begin())
        kill_container("boot: no host memory for all of its pages", self->pages);
    vcpu_start(&self->vcpu, kernel, boot_page);
}
