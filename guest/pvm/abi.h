/* What a PVM guest and its hypervisor agree on.
 * Source: github.com/virt-pvm/linux, Documentation/virt/kvm/x86/pvm-spec.rst (2b24d5b) and arch/x86/include/uapi/asm/pvm_para.h. */
#ifndef PVM_ABI_H
#define PVM_ABI_H

#define PVM_MSR_LINEAR_ADDRESS_RANGE 0x4b564df0
#define PVM_MSR_VCPU_STRUCT          0x4b564df1
#define PVM_MSR_EVENT_ENTRY          0x4b564df4 /* of events in user mode */
#define PVM_MSR_RETU_RIP             0x4b564df5

/* Hypercalls: SYSCALL in supervisor mode.  Number in RAX; RBX, R10, RDX; the result in RAX. */
#define PVM_HC_LOAD_PGTBL        0x17088200     /* flags, CR3 */
#define PVM_HC_IRQ_WIN           0x17088201
#define PVM_HC_IRQ_HLT           0x17088202
#define PVM_HC_TLB_FLUSH         0x17088203
#define PVM_HC_TLB_FLUSH_CURRENT 0x17088204
#define PVM_HC_TLB_INVLPG        0x17088205     /* address */
#define PVM_HC_LOAD_GS           0x17088206     /* selector */
#define PVM_HC_RDMSR             0x17088207     /* MSR */
#define PVM_HC_WRMSR             0x17088208     /* MSR, value */
#define PVM_HC_LOAD_TLS          0x17088209     /* three descriptors */

#define PVM_SUPERVISOR_ENTRY 512                /* behind the entry for events in user mode */

#define PVM_LOAD_FLUSH 1                        /* LOAD_PGTBL: drop the tables' translations */

#define PVM_EVENT_FLAGS_IP 0x100                /* event_flags: an interrupt waits */
#define PVM_EVENT_FLAGS_IF 0x200                /* … may come, in supervisor mode */
#define PVM_EVENT_VECTOR_STD 0x100              /* event_vector: the fields below are in use */

/* CPUID by way of the hypervisor: INVLPG of an address that nobody has, and CPUID behind it. */
#define PVM_SYNTHETIC_CPUID 0x0f, 0x01, 0x3c, 0x25, 0x50, 0x56, 0x4d, 0xff, 0x0f, 0xa2
#define KVM_CPUID_SIGNATURE 0x40000000          /* EBX, ECX, EDX: "KVMKVMKVM" */
#define KVM_CPUID_TIMING    0x40000010          /* EAX: the TSC's kHz */

/* struct pvm_vcpu_struct, for assembly. */
#define PVCS_EVENT_FLAGS  0
#define PVCS_CR2          8
#define PVCS_USER_CS      64
#define PVCS_USER_SS      66
#define PVCS_ERRCODE      68
#define PVCS_VECTOR       70
#define PVCS_USER_GSBASE  72
#define PVCS_EFLAGS       80
#define PVCS_PKRU         84
#define PVCS_RIP          88
#define PVCS_RCX          96
#define PVCS_R11          104

#ifndef __ASSEMBLER__
#include "boot.h"
#include "types.h"

/* The state that crosses with an event and with its return. */
struct pvm_vcpu_struct {
    u64 event_flags, cr2, reserved0[6];
    u16 user_cs, user_ss, event_errcode, event_vector;
    u64 user_gsbase;
    u32 eflags, pkru;
    u64 rip, rcx, r11, reserved1[2];
};
#endif
#endif
