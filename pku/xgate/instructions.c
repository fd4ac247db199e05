/* What is certainly an instruction in text that is to become executable: what is reached from the beginning of a
 * function, one instruction after another (functions.c).
 *
 * Only the functions are walked that hold something of interest.
 */
#include "mm/slab.h"
#include "mm/vm.h"
#include "xgate.h"

#define GRAIN 64                /* bytes of text for one bit of `interesting` */
#define LONGEST 15

static u8 *marks;               /* one bit a byte of text: an instruction begins here */
static u8 *interesting;         /* … something that the scanner or the rewriter asks about is near */
static u64 text, text_size;

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

static bool is_of_interest(u8 second) { return second == 0x05 || second == 0x01 || second == 0xae || second == 0xc7; }

/* Eight bytes of which none is 0f? */
static bool has_no_0f(u64 word) {
    word ^= 0x0f0f0f0f0f0f0f0f;
    return !((word - 0x0101010101010101) & ~word & 0x8080808080808080);
}

u64 next_of_interest(u64 at, u64 end) {
    for (u64 stop; at < end; at = stop) {
        const u8 *b = text_byte(at);
        stop = MIN(end, ROUND_DOWN(at, PAGE_SIZE) + PAGE_SIZE);
        for (; b && at < stop; at++, b++) {
            while (!(at & 7) && at + 8 <= stop && has_no_0f(*(const u64 *)(const void *)b))
                at += 8, b += 8;
            if (at < stop && *b == 0x0f && is_of_interest((at + 1) & PAGE_MASK ? b[1] : (u8)user_word(at + 1, 1)))
                return at;
        }
    }
    return end;
}

bool is_instruction(u64 va) {
    u64 at = va - text;
    return marks && at < text_size && marks[at / 8] >> (at & 7) & 1;
}

static bool holds_interest(u64 va, u64 size) {
    for (u64 n = (va - text) / GRAIN; n <= (va - text + size - 1) / GRAIN; n++)
        if (interesting[n / 8] >> (n & 7) & 1)
            return true;
    return false;
}

/* Walk from the beginning of a function to its end.  What cannot be decoded ends the certainty. */
static void mark_function(u64 va, u64 size) {
    u8 code[LONGEST];
    u32 distance;

    if (va - text >= text_size || size > text_size - (va - text) || !size || !holds_interest(va, size))
        return;
    for (u64 end = va + size; va < end;) {
        u64 left = MIN(end - va, (u64)LONGEST);
        const u8 *at = text_byte(va);
        if (at && (va & PAGE_MASK) + left > PAGE_SIZE) {
            for (u64 i = 0; i < left && at; i++)
                if ((at = text_byte(va + i)))
                    code[i] = *at;
            at = at ? code : NULL;
        }
        u32 n = at ? instruction_length(at, left, &distance) : 0;
        if (!n)
            return;
        marks[(va - text) / 8] |= (u8)(1 << ((va - text) & 7));
        va += n;
    }
}

void instructions_find(u64 va, u64 size) {
    text = va;
    text_size = size;
    bytes = NULL;
    marks = kmalloc(size / 8 + 1);
    interesting = kmalloc(size / GRAIN / 8 + 1);
    for (u64 at = va; marks && interesting && (at = next_of_interest(at, va + size)) < va + size; at++)
        for (u64 near = MAX(va, at - 2 * LONGEST); near <= at + LONGEST && near < va + size; near += LONGEST)
            interesting[(near - va) / GRAIN / 8] |= (u8)(1 << ((near - va) / GRAIN & 7));
    if (marks && interesting)
        functions_of(va, mark_function);
}

void instructions_forget(void) {
    kfree(marks);
    kfree(interesting);
    marks = interesting = NULL;
    bytes = NULL;
}
