/* Real-address and virtual-8086 mode, case by case.  Where things lie, in physical memory:
 *
 *   0x00000  interrupt table of real mode         0x10000  the case's code, at 0x100
 *   0x20000  its stack: SP is 0x800               0x30000  its data    0x40000  its extra segment
 *   0x50000  low.S, a copy                        0x58000  struct state, before    0x58100  struct state, after
 *   0x59000  TSS, with a bitmap that denies port 0x81                  0x5f000  the monitor's stack at ring 0
 */
#ifndef MODES_H
#define MODES_H

#define CODE_SELECTOR 0x1000
#define STACK_SELECTOR 0x2000
#define DATA_SELECTOR 0x3000
#define EXTRA_SELECTOR 0x4000
#define LOW_SELECTOR 0x5000
#define CODE_AT 0x100
#define STACK_TOP 0x800

#define LOW (LOW_SELECTOR * 16)
#define BEFORE_OFFSET 0x8000
#define AFTER_OFFSET 0x8100
#define TSS_AT 0x59000
#define TSS_SIZE (104 + 0x100 + 1)
#define MONITOR_STACK 0x5f000

#define GATES 256
#define STUB_SIZE 8             /* of low.S and monitor.S: a push of the vector, and a jump */

#define REAL 0
#define V86 1

/* Offsets in struct state. */
#define ST_GENERAL 0
#define ST_ESP 16
#define ST_EIP 32
#define ST_CS 36
#define ST_EFLAGS 40
#define ST_VECTOR 44
#define ST_ERROR 48
#define ST_ES 52
#define ST_SS 54
#define ST_DS 56
#define ST_FS 58
#define ST_GS 60

/* Selectors of the monitor. */
#define CODE64 0x08
#define CODE32 0x10
#define DATA32 0x18
#define CODE16 0x20
#define DATA16 0x28
#define TASK 0x30

#ifndef __ASSEMBLER__
#include "bare.h"

struct state {
    u32 general[8];             /* EAX, ECX, EDX, EBX, ESP, EBP, ESI, EDI */
    u32 eip, cs, eflags;
    u32 vector, error;          /* afterwards: what ended the case */
    u16 es, ss, ds, fs, gs, pad;
};

/* monitor.S: go down to a mode with the state that stands at LOW + BEFORE_OFFSET, and back up behind the first interrupt. */
void enter_mode(u64 mode);
extern char low_start[], low_end[], monitor_stubs[], monitor_tss[];
extern u64 monitor_idt[GATES];

/* cases.S: for each case its length, its code, its text and a zero byte; a length of 0 ends them. */
extern const u8 cases[], limit_cases[];
#endif
#endif
