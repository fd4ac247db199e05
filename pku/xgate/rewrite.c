/* System-call sites of a program become ways into the gate, where an address is certainly an instruction.
 *
 *   mov $nr, %eax       b8 .. .. .. ..        jmp stub       e9 .. .. .. ..
 *   syscall             0f 05            →    syscall        0f 05
 *
 * The SYSCALL stays, so a jump straight to it still works, by the slow path.
 */
#include "xgate.h"

#define STUB_SIZE 32

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
    u64 end = va + size, stub;

    for (u64 at = va; (at = next_of_interest(at, end)) < end; at++) {
        if (at + 1 >= end || *text_byte(at + 1) != 0x05)
            continue;
        xgate_stats.found++;
        if (rewritable(at, va) && (stub = stub_space(STUB_SIZE)))
            xgate_stats.rewritten += patch(at, stub);
    }
}
