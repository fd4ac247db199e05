/* The fields of a VMCS that this host uses, and what it writes into them.
 * Source: SDM volume 3, "Virtual Machine Control Structures", "Field Encoding in VMCS". */
#ifndef VMCS_H
#define VMCS_H

#define HOST_RSP 0x6c14         /* entry.S writes it */

#ifndef __ASSEMBLER__
#include "types.h"

enum field {
    VPID = 0x0000,
    GUEST_SELECTOR = 0x0800,    /* ES CS SS DS FS GS LDTR TR, by twos */
    HOST_SELECTOR = 0x0c00,     /* ES CS SS DS FS GS TR */
    IO_BITMAP_A = 0x2000, IO_BITMAP_B = 0x2002, MSR_BITMAP = 0x2004, EPT_POINTER = 0x201a,
    GUEST_PHYSICAL_ADDRESS = 0x2400,
    VMCS_LINK_POINTER = 0x2800, GUEST_DEBUGCTL = 0x2802, GUEST_PAT = 0x2804, GUEST_EFER = 0x2806,
    HOST_PAT = 0x2c00, HOST_EFER = 0x2c02,
    PIN_CONTROLS = 0x4000, PRIMARY_CONTROLS = 0x4002, EXCEPTION_BITMAP = 0x4004, PFEC_MASK = 0x4006, PFEC_MATCH = 0x4008,
    EXIT_CONTROLS = 0x400c,
    ENTRY_CONTROLS = 0x4012, ENTRY_INTERRUPTION_INFO = 0x4016, ENTRY_ERROR_CODE = 0x4018, ENTRY_INSTRUCTION_LENGTH = 0x401a,
    SECONDARY_CONTROLS = 0x401e,
    INSTRUCTION_ERROR = 0x4400, EXIT_REASON = 0x4402, EXIT_INTERRUPTION_INFO = 0x4404, EXIT_ERROR_CODE = 0x4406,
    IDT_VECTORING_INFO = 0x4408, IDT_VECTORING_ERROR_CODE = 0x440a, EXIT_INSTRUCTION_LENGTH = 0x440c,
    EXIT_INSTRUCTION_INFO = 0x440e,
    GUEST_LIMIT = 0x4800,       /* … then GDTR, IDTR */
    GUEST_GDTR_LIMIT = 0x4810, GUEST_IDTR_LIMIT = 0x4812,
    GUEST_ACCESS = 0x4814,
    GUEST_INTERRUPTIBILITY = 0x4824, GUEST_ACTIVITY = 0x4826, GUEST_SYSENTER_CS = 0x482a,
    HOST_SYSENTER_CS = 0x4c00,
    CR0_MASK = 0x6000, CR4_MASK = 0x6002, CR0_READ_SHADOW = 0x6004, CR4_READ_SHADOW = 0x6006,
    EXIT_QUALIFICATION = 0x6400, GUEST_LINEAR_ADDRESS = 0x640a,
    GUEST_CR0 = 0x6800, GUEST_CR3 = 0x6802, GUEST_CR4 = 0x6804,
    GUEST_BASE = 0x6806,        /* … then GDTR, IDTR */
    GUEST_GDTR_BASE = 0x6816, GUEST_IDTR_BASE = 0x6818,
    GUEST_DR7 = 0x681a, GUEST_RSP = 0x681c, GUEST_RIP = 0x681e, GUEST_RFLAGS = 0x6820, GUEST_PENDING_DEBUG = 0x6822,
    GUEST_SYSENTER_ESP = 0x6824, GUEST_SYSENTER_EIP = 0x6826,
    HOST_CR0 = 0x6c00, HOST_CR3 = 0x6c02, HOST_CR4 = 0x6c04, HOST_FS_BASE = 0x6c06, HOST_GS_BASE = 0x6c08,
    HOST_TR_BASE = 0x6c0a, HOST_GDTR_BASE = 0x6c0c, HOST_IDTR_BASE = 0x6c0e, HOST_SYSENTER_ESP = 0x6c10,
    HOST_SYSENTER_EIP = 0x6c12, HOST_RIP = 0x6c16,
};

enum segment { ES, CS, SS, DS, FS, GS, LDTR, TR };

#define PIN_EXTERNAL_INTERRUPT_EXITING (1u << 0)
#define PIN_NMI_EXITING (1u << 3)
#define PIN_VIRTUAL_NMIS (1u << 5)

#define PRIMARY_INTERRUPT_WINDOW_EXITING (1u << 2)
#define PRIMARY_HLT_EXITING (1u << 7)
#define PRIMARY_INVLPG_EXITING (1u << 9)
#define PRIMARY_MWAIT_EXITING (1u << 10)
#define PRIMARY_RDPMC_EXITING (1u << 11)
#define PRIMARY_CR3_LOAD_EXITING (1u << 15)
#define PRIMARY_CR3_STORE_EXITING (1u << 16)
#define PRIMARY_CR8_LOAD_EXITING (1u << 19)
#define PRIMARY_CR8_STORE_EXITING (1u << 20)
#define PRIMARY_IO_BITMAPS (1u << 25)
#define PRIMARY_MSR_BITMAPS (1u << 28)
#define PRIMARY_MONITOR_EXITING (1u << 29)
#define PRIMARY_SECONDARY_CONTROLS (1u << 31)

#define SECONDARY_EPT (1u << 1)
#define SECONDARY_RDTSCP (1u << 3)
#define SECONDARY_VPID (1u << 5)
#define SECONDARY_WBINVD_EXITING (1u << 6)
#define SECONDARY_UNRESTRICTED_GUEST (1u << 7)
#define SECONDARY_INVPCID (1u << 12)

#define EXIT_SAVE_DEBUG_CONTROLS (1u << 2)
#define EXIT_HOST_ADDRESS_SPACE_SIZE (1u << 9)
#define EXIT_ACKNOWLEDGE_INTERRUPT (1u << 15)
#define EXIT_SAVE_PAT (1u << 18)
#define EXIT_LOAD_PAT (1u << 19)
#define EXIT_SAVE_EFER (1u << 20)
#define EXIT_LOAD_EFER (1u << 21)

#define ENTRY_LOAD_DEBUG_CONTROLS (1u << 2)
#define ENTRY_IA32E_MODE_GUEST (1u << 9)
#define ENTRY_LOAD_PAT (1u << 14)
#define ENTRY_LOAD_EFER (1u << 15)

/* Interruption information, for injection, exits and IDT-vectoring. */
#define EVENT_VECTOR 0xffu
#define EVENT_TYPE (7u << 8)
#define EVENT_INTERRUPT (0u << 8)
#define EVENT_NMI (2u << 8)
#define EVENT_EXCEPTION (3u << 8)
#define EVENT_SOFTWARE (4u << 8)        /* this and those above have an instruction length */
#define EVENT_ERROR_CODE (1u << 11)
#define EVENT_VALID (1u << 31)
#define EVENT_INJECTABLE (EVENT_VALID | EVENT_ERROR_CODE | EVENT_TYPE | EVENT_VECTOR)

#define BLOCKED_BY_STI 1
#define BLOCKED_BY_MOV_SS 2
#define PENDING_BS (1UL << 14)

#define ACCESS_UNUSABLE 0x10000u
#define ACCESS_DPL(rights) ((rights) >> 5 & 3)
#define ACCESS_LONG (1u << 13)

#define ENTRY_FAILED (1u << 31)         /* of the exit reason */

/* The capability MSRs of the controls. */
#define MSR_VMX_PIN 0x481
#define MSR_VMX_PRIMARY 0x482
#define MSR_VMX_EXIT 0x483
#define MSR_VMX_ENTRY 0x484
#define MSR_VMX_SECONDARY 0x48b

static inline u64 vmread(enum field f) {
    u64 value;
    asm volatile("vmread %1, %0" : "=r"(value) : "r"((u64)f) : "cc");
    return value;
}

static inline void vmwrite(enum field f, u64 value) { asm volatile("vmwrite %1, %0" :: "r"((u64)f), "r"(value) : "cc", "memory"); }

/* Of a segment, a guest's: each kind of field stands in the order of `enum segment`. */
static inline enum field of_segment(enum field first, enum segment s) { return first + 2 * s; }

#endif
#endif
