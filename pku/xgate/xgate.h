/* What the files of the ParaCell platform share. */
#ifndef XGATE_H
#define XGATE_H

#include "abi.h"
#include "defence.h"
#include "kernel.h"
#include "platform/keys.h"

/* Read by symbol from outside, in this order. */
struct xgate_stats { u64 found, rewritten, slow_calls, gate_calls; };
extern struct xgate_stats xgate_stats;
extern struct xgate_vcpu xgate_vcpu;
extern u64 xgate_scratch[];
/* Places in the gate (gate.S). */
extern char xgate_entry[], xgate_has_rcx[], xgate_has_rdx[], xgate_has_rax[], xgate_enter_wrpkru[];
extern char xgate_exit_wrpkru[], xgate_refused[];

/* emulate.c */
#define WRPKRU_REPLACED "\x0f\x0b\xef"
#define XRSTOR_REPLACED "\x0f\xff"

/* space.c: whether the last page-table entries may go to the host with the return to container user. */
void entries_may_wait(void);                    /* until this thread leaves, by the host */
void entries_must_not_wait(void);               /* and those that do are sent */

/* keys.c: the running thread's PKRU in user mode, without rights to the kernel's key. */
void set_user_pkru(u32 value);

/* decode.c: the length of the instruction at `code`, at most `left` bytes long; 0 = not known. */
u32 instruction_length(const u8 *code, u64 left, u32 *distance);  /* distance: its offset in the instruction, if it has one */

/* scan.c: is there a WRPKRU, XRSTOR or XRSTORS at any byte of [va, va + size), or across its borders?
 * Those that are certainly instructions become undefined ones (emulate.c); another one is a refusal. */
bool scan(u64 va, u64 size);

/* functions.c: call `tell` with each function of the file that is mapped at `va`. */
void functions_of(u64 va, void (*tell)(u64 va, u64 size));

/* instructions.c: note what is certainly an instruction in [va, va + size). */
void instructions_find(u64 va, u64 size);
void instructions_forget(void);
bool is_instruction(u64 va);
u64 next_of_interest(u64 at, u64 end);          /* in that text: where a SYSCALL or a forbidden sequence may begin, or `end` */

/* stubs.c: executable pages of the program's, near that text. */
void stubs_begin(u64 va, u64 size);
u64 stub_space(u64 bytes);                      /* 0: no room */
struct stubs stubs_end(bool wanted);

void rewrite(u64 va, u64 size);                 /* rewrite.c */

/* scan.c: no forbidden sequence begins in [va, va + size), which is looked at and not changed. */
bool is_harmless(u64 va, u64 size);

/* relocate.c: move the instruction in whose displacement a forbidden sequence at `va` lies. */
bool relocate(u64 va);

u8 *text_byte(u64 va);                          /* one byte of the program's text; NULL if there is none */
u64 user_word(u64 va, u32 size);                /* a little-endian word of the program, 0 if unreadable */

#endif
