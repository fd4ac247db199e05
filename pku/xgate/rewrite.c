/* System-call sites of a program become ways into the gate, where an address is certainly an instruction.
 *
 *   mov $nr, %eax       b8 .. .. .. ..        jmp stub       e9 .. .. .. ..
 *   syscall             0f 05            →    syscall        0f 05
 *
 * The SYSCALL stays, so a jump straight to it still works, by the slow path.  Certain is what is
 * reached from the beginning of a function, one instruction after another (functions.c).
 */
#include "linux.h"
#include "mm/vm.h"
#include "task/process.h"
#include "xgate.h"

#define STUB_SIZE 32

/* One bit a byte of text: an instruction begins here. */
static u8 *marks;
static u64 marks_va, marks_size;

static u64 page;                /* of the program that was looked at last */
static u8 *bytes;

u8 *text_byte(u64 va) {
    if (ROUND_DOWN(va, PAGE_SIZE) != page || !bytes) {
        bytes = text_page(va);
        page = ROUND_DOWN(va, PAGE_SIZE);
    }
    return bytes ? bytes + (va & PAGE_MASK) : NULL;
}

u64 user_word(u64 va, u32 size) {
    u64 value = 0;
    return copy_in(&value, va, size) ? 0 : value;
}

bool is_instruction(u64 va) {
    u64 at = va - marks_va;
    return marks && at < marks_size && marks[at / 8] >> (at & 7) & 1;
}

/* Walk from the beginning of a function to its end.  What cannot be decoded ends the certainty. */
static void mark_function(u64 va, u64 size) {
    u8 code[16];
    u32 distance;

    for (u64 end = va + size; va < end && va - marks_va < marks_size;) {
        u64 left = MIN(end - va, 15UL);
        for (u64 i = 0; i < left; i++) {
            const u8 *byte = va + i - marks_va < marks_size ? text_byte(va + i) : NULL;
            if (!byte)
                return;
            code[i] = *byte;
        }
        u32 n = instruction_length(code, left, &distance);
        if (!n)
            return;
        marks[(va - marks_va) / 8] |= (u8)(1 << ((va - marks_va) & 7));
        va += n;
    }
}

void rewrite_init(u64 va, u64 size) {
    static u8 space[1 << 20];   /* 8 MiB of text */

    marks = NULL;
    bytes = NULL;
    if (size / 8 > sizeof space)
        return;
    marks = space;
    marks_va = va;
    marks_size = size;
    memset(space, 0, size / 8);
    functions_of_program(mark_function);
}

/* Where `bytes` of stubs can be reached by a 32-bit jump: just below the program. */
u64 stub_space(u64 bytes) {
    struct mm *mm = current->process->mm;
    u64 size = ROUND_UP(bytes, PAGE_SIZE), top = mm->first->start;

    for (u64 at = top - size - PAGE_SIZE; top > size + 17 * PAGE_SIZE && at > 16 * PAGE_SIZE; at -= size)
        if (vma_is_free(mm, at, at + size))
            return vma_add(mm, &(struct vma){.start = at, .end = at + size, .prot = PROT_READ | PROT_EXEC}) ? 0 : at;
    return 0;
}

static void put(u64 va, const u8 *bytes, u64 n) {
    for (u64 i = 0; i < n; i++)
        *text_byte(va + i) = bytes[i];
}

static void write_stub(u64 stub, u32 number, u64 back) {
    u64 entry = (u64)xgate_entry;
    i32 distance = (i32)(back - (stub + 12));
    u8 code[25] = {0xb8, 0, 0, 0, 0, 0x48, 0x8d, 0x0d, 0, 0, 0, 0, 0x49, 0xbb};

    memcpy(code + 1, &number, 4);               /* mov $nr, %eax */
    memcpy(code + 8, &distance, 4);             /* lea back(%rip), %rcx */
    memcpy(code + 14, &entry, 8);               /* movabs $xgate_entry, %r11 */
    code[22] = 0x41, code[23] = 0xff, code[24] = 0xe3;  /* jmp *%r11 */
    put(stub, code, sizeof code);
}

/* A large enough program can choose both displacements, so the bytes that we wrote are scanned as well. */
static bool patch(u64 site, u64 stub) {
    u8 jump[5] = {0xe9}, before[5], nothing[STUB_SIZE] = {0};
    i32 distance = (i32)(stub - site);

    for (u64 i = 0; i < sizeof before; i++)
        before[i] = *text_byte(site - 5 + i);
    write_stub(stub, (u32)user_word(site - 4, 4), site + 2);
    memcpy(jump + 1, &distance, 4);
    put(site - 5, jump, sizeof jump);
    if (OFF(patch) || (is_harmless(site - 7, 7) && is_harmless(stub - 2, STUB_SIZE + 2)))
        return true;
    put(site - 5, before, sizeof before);
    put(stub, nothing, sizeof nothing);
    return false;
}

static bool site_at(u64 va, u64 end) {
    return va + 1 < end && *text_byte(va) == 0x0f && *text_byte(va + 1) == 0x05;
}

/* Another instruction that begins at `at` and reaches beyond `va`: a prefix before `va`, say. */
static bool reaches_into(u64 at, u64 va) {
    u8 code[15];
    u32 distance;

    if (!is_instruction(at))
        return false;
    for (u64 i = 0; i < sizeof code; i++)
        code[i] = (u8)user_word(at + i, 1);
    return at + instruction_length(code, sizeof code, &distance) > va;
}

/* The five bytes before the SYSCALL are MOV and nothing else, however they are reached. */
static bool rewritable(u64 va, u64 start) {
    u64 mov = va - 5;

    if (mov < start || mov > va || !is_instruction(va) || !is_instruction(mov) || *text_byte(mov) != 0xb8)
        return false;
    for (u64 at = mov - 14; at < va; at++)
        if (at != mov && (at < mov ? reaches_into(at, mov) : is_instruction(at)))
            return false;
    return true;
}

void rewrite(u64 va, u64 size) {
    u64 count = 0, end = va + size;

    for (u64 at = va; at < end; at++)
        if (site_at(at, end)) {
            xgate_stats.found++;
            count += marks && rewritable(at, va);
        }
    u64 stub = count ? stub_space(count * STUB_SIZE) : 0;
    if (!stub)
        return;
    for (u64 at = va; at < end; at++) {
        if (!site_at(at, end) || !rewritable(at, va))
            continue;
        xgate_stats.rewritten += patch(at, stub);
        stub += STUB_SIZE;
    }
}
