/* A VMCS that every check of VM entry passes, and the bits of its fields that a case may flip.
 * Source: SDM volume 3, "Virtual Machine Control Structures", "Checks on VMX Controls", "Checks on Host …", "Checks on Guest State". */
#ifndef VMCS_H
#define VMCS_H

#include "bare.h"

#define PIN_CONTROLS 0x4000
#define PRIMARY_CONTROLS 0x4002
#define EXIT_CONTROLS 0x400c
#define ENTRY_CONTROLS 0x4012
#define SECONDARY_CONTROLS 0x401e
#define INSTRUCTION_ERROR 0x4400
#define EXIT_REASON 0x4402
#define EXIT_EVENT 0x4404
#define EXIT_EVENT_ERROR 0x4406
#define EXIT_QUALIFICATION 0x6400

#define SECONDARY_ON (1u << 31)         /* primary controls */
#define HOST_64 (1u << 9)               /* exit controls */
#define GUEST_64 (1u << 9)              /* entry controls */

/* A field, what it is at first, and which bits may be flipped. */
struct field {
    u32 encoding;
    u64 base, mask;
};

#define FIELDS_MOST 160
extern struct field fields[FIELDS_MOST];
extern u32 field_count;

void base_vmcs(void);                   /* fills in `fields` */

static inline u64 vmread(u64 field) {
    u64 value = 0;
    asm volatile("vmread %1, %0" : "=r"(value) : "r"(field) : "cc");
    return value;
}

static inline void vmwrite(u64 field, u64 value) {
    asm volatile("vmwrite %1, %0" :: "r"(field), "r"(value) : "cc");
}

static inline u64 rdmsr(u32 msr) {
    u32 low, high;
    asm volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(msr));
    return (u64)high << 32 | low;
}

static inline void wrmsr(u32 msr, u64 value) {
    asm volatile("wrmsr" :: "c"(msr), "a"((u32)value), "d"((u32)(value >> 32)) : "memory");
}

#endif
